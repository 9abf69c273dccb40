"""What the sources say of GPTs: each role's std at three depths, as a table by rule.

The model is GPT-2's width (768, 12 heads, MLP 3072, vocabulary 50304). The numbers are written
here once more, as the sources give them: nothing of the rules is used.
"""

from __future__ import annotations

from collections.abc import Callable

Want = float | dict[int, float] | Callable[[int], float]

LAYERS = (1, 12, 48)
WIDTH = 768**-0.5  # 1 / sqrt(n_embd)
FF = 3072**-0.5
SMALL = 0.0228218  # sqrt(2 / (5·768))
CUT_2, CUT_3 = 0.879626, 0.986578  # std of N(0, 1) truncated at ±2 and ±3
ROOT = {1: 0.707107, 12: 0.204124, 48: 0.102062}  # 1 / sqrt(2·n_layer)
XAVIER_SQUARE, XAVIER_MLP = 0.0360844, 0.0228218  # sqrt(2 / (768+768)), sqrt(2 / (768+3072))
WANG = {1: 0.0721688, 12: 0.00601407, 48: 0.00150352}  # 2 / (n_layer·sqrt(768))
MUP = 0.0115470  # 0.02·sqrt(256 / 768)

ENDS, INNER, OUT = "wte wpe head", "q k v mlp_gate mlp_up", "attn_out mlp_down"


def by(depth: dict[int, float], factor: float) -> dict[int, float]:
    return {layers: factor * value for layers, value in depth.items()}


def by_layer(factor: float) -> Callable[[int], float]:
    return lambda layer: factor / (2 * (layer + 1)) ** 0.5


GPTS: dict[str, dict[str, Want]] = {
    # openai/gpt-2 src/model.py: conv1d(w_init_stdev=0.02), wpe 0.01, wte 0.02.
    "gpt2": {"wpe": 0.01, f"wte head {INNER} {OUT}": 0.02},
    # karpathy/minGPT: as nanoGPT.
    "mingpt": {f"{ENDS} {INNER}": 0.02, OUT: by(ROOT, 0.02)},
    # Megatron-LM: init_method_std 0.02, scaled_init_method_normal.
    "megatron": {f"{ENDS} {INNER}": 0.02, OUT: by(ROOT, 0.02)},
    # OPT, §2.2: "standard deviation of 0.006", output layers by 1/sqrt(2L).
    "opt": {f"{ENDS} {INNER}": 0.006, OUT: by(ROOT, 0.006)},
    # MT-NLG: sqrt(1/(3·768)).
    "mt-nlg": {f"{ENDS} {INNER}": 0.0208333, OUT: by(ROOT, 0.0208333)},
    # Cerebras-GPT: truncated_normal(0.02, ±2 std).
    "cerebras": {f"{ENDS} {INNER}": 0.02 * CUT_2, OUT: by(ROOT, 0.02 * CUT_2)},
    # Nguyen & Salazar.
    "small-init": {f"{ENDS} {INNER} {OUT}": SMALL},
    # GPT-NeoX: small_init and wang_init.
    "neox": {f"{ENDS} {INNER}": SMALL, OUT: WANG},
    # TinyLlama: 1/sqrt(n_embd)/n_layer.
    "tinyllama": {f"{ENDS} {INNER}": SMALL, OUT: by(WANG, 0.5)},
    # torchtitan: the gate is not scaled, the up projection is.
    "torchtitan-llama3": {
        "wte wpe": 1.0, "head": WIDTH * CUT_3, "q k v mlp_gate": 0.02,
        f"mlp_up {OUT}": by_layer(0.02),
    },
    # OLMo init_fn normal, cutoff 3.
    "olmo-normal": {f"{ENDS} {INNER} {OUT}": 0.02 * CUT_3},
    # OLMo init_fn mitchell.
    "olmo-mitchell": {
        f"{ENDS} {INNER}": WIDTH * CUT_3, "attn_out": by_layer(WIDTH * CUT_3),
        "mlp_down": by_layer(FF * CUT_3),
    },
    # OLMo init_fn full_megatron.
    "olmo-megatron": {
        f"wte wpe {INNER}": 0.02 * CUT_3, "head": WIDTH * CUT_3, OUT: by(ROOT, 0.02 * CUT_3),
    },
    # OLMo-core fan_in.
    "olmo-fan-in": {
        "wte wpe": 1.0, f"head {INNER} attn_out": WIDTH * CUT_3, "mlp_down": FF * CUT_3,
    },
    # PaLM, §5.
    "palm": {ENDS: 1.0, f"{INNER} attn_out": WIDTH, "mlp_down": FF},
    # T5: q has (768·64)^-1/2.
    "t5": {ENDS: 1.0, "q": 0.00451055, "k v mlp_gate mlp_up attn_out": WIDTH, "mlp_down": FF},
    # llm-foundry: kaiming_normal_(fan_in, relu), residual weights divided by sqrt(2·n_layer).
    "llm-foundry": {
        f"{ENDS} {INNER}": 0.0510310, "attn_out": by(ROOT, 0.0510310),
        "mlp_down": by(ROOT, 0.0255155),
    },
    # BLOOM: sqrt(1/(3·768)) as MT-NLG.
    "bloom": {f"{ENDS} {INNER}": 0.0208333, OUT: by(ROOT, 0.0208333)},
    # transformers: initializer_range.
    **{f"hf-{model}": {f"{ENDS} {INNER} {OUT}": 0.02}
       for model in ("llama", "gpt-neox", "gptj", "bloom", "gemma")},
    # GPT-J: TN(vocab^-1/2) in EmbeddingShard, Haiku's default, init_scale 2/n_layer over sqrt(768).
    "gptj": {
        "wte wpe": 0.00445860 * CUT_2, f"head {INNER}": WIDTH * CUT_2, OUT: by(WANG, CUT_2),
    },
    # Gemma's flax code: nn.initializers.normal(), stddev 1e-2.
    "gemma": {f"{ENDS} {INNER} {OUT}": 0.01},
    # DeepSeek-V3, §4.2: "standard deviation of 0.006".
    "deepseek": {f"{ENDS} {INNER} {OUT}": 0.006},
    # nanodo: xavier_uniform; variance_scaling(1, fan_in, normal, out_axis=0) for embeddings.
    "nanodo": {
        ENDS: WIDTH, "q k v attn_out": XAVIER_SQUARE, "mlp_gate mlp_up mlp_down": XAVIER_MLP,
    },
    # Nguyen & Salazar's code: the MLP's sqrt(2/(768+3072)) is the same number.
    "transformers-without-tears": {ENDS: WIDTH, f"{INNER} {OUT}": SMALL},
    # OLMo 2 7B: init_std 0.02, init_cutoff_factor 3.
    "olmo2": {f"{ENDS} {INNER} {OUT}": 0.02 * CUT_3},
    # OLMo-core llama and llama_depth: w3 is scaled with w2, w1 is not.
    "olmo-core-llama": {
        "wte wpe": 1.0, "head": WIDTH * CUT_3, "q k v mlp_gate": 0.02 * CUT_3,
        f"mlp_up {OUT}": by(ROOT, 0.02 * CUT_3),
    },
    "olmo-core-llama-depth": {
        "wte wpe": 1.0, "head": WIDTH * CUT_3, "q k v mlp_gate": 0.02 * CUT_3,
        f"mlp_up {OUT}": by_layer(0.02 * CUT_3),
    },
    # llm-foundry baseline_, small_ and neox_: residual weights by sqrt(2L), or L/sqrt(10).
    "llm-foundry-baseline": {f"{ENDS} {INNER}": 0.02, OUT: by(ROOT, 0.02)},
    "llm-foundry-small": {f"{ENDS} {INNER}": SMALL, OUT: by(ROOT, SMALL)},
    "llm-foundry-neox": {f"{ENDS} {INNER}": SMALL, OUT: WANG},
    # What is told of nanoGPT.
    "folklore-times-0.02": {f"{ENDS} {INNER}": 0.02, OUT: 4e-4},
    "folklore-sqrt-2-over-l": {
        f"{ENDS} {INNER}": 0.02, OUT: {1: 0.0282843, 12: 0.00816497, 48: 0.00408248},
    },
    "folklore-1-over-sqrt-l": {
        f"{ENDS} {INNER}": 0.02, OUT: {1: 0.02, 12: 0.00577350, 48: 0.00288675},
    },
    "folklore-ffn": {
        f"{ENDS} q k v": 0.02, "attn_out": by(ROOT, 0.02),
        "mlp_gate mlp_up mlp_down": 0.000721688,
    },
}  # fmt: skip
