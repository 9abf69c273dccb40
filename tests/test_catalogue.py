"""The catalogue's closed forms: each role's std at three depths, from numbers of its source.

The model is GPT-2's width (768, 12 heads, MLP 3072). The numbers are written here once more, as
the sources give them: nothing of the rules is used. What is not here has public code to be compared
with (test_parity.py, which also sees to it that no rule is forgotten).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from initscope.config import GPTConfig
from initscope.rules import config_for, get_rule
from initscope.sites import Parameter, all_parameters

Want = float | dict[int, float] | Callable[[int], float]

LAYERS = (1, 12, 48)
WIDTH = 768**-0.5  # 1 / sqrt(n_embd)
FF = 3072**-0.5
SMALL = 0.0228218  # sqrt(2 / (5·768))
CUT_2, CUT_3 = 0.879626, 0.986578  # std of N(0, 1) truncated at ±2 and ±3
ROOT = {1: 0.707107, 12: 0.204124, 48: 0.102062}  # 1 / sqrt(2·n_layer)
BETA = {1: 0.594604, 12: 0.319472, 48: 0.2259005}  # (8·n_layer)^-1/4
XAVIER_SQUARE, XAVIER_MLP = 0.0360844, 0.0228218  # sqrt(2 / (768+768)), sqrt(2 / (768+3072))
WANG = {1: 0.0721688, 12: 0.00601407, 48: 0.00150352}  # 2 / (n_layer·sqrt(768))
MUP = 0.0115470  # 0.02·sqrt(256 / 768)

ENDS, INNER, OUT = "wte wpe head", "q k v mlp_gate mlp_up", "attn_out mlp_down"


def by(depth: dict[int, float], factor: float) -> dict[int, float]:
    return {layers: factor * value for layers, value in depth.items()}


def by_layer(factor: float) -> Callable[[int], float]:
    return lambda layer: factor / (2 * (layer + 1)) ** 0.5


EXPECTED: dict[str, dict[str, Want]] = {
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
    # nanochat 3a5e0bc: fan_in^-1/2·min(1, sqrt(fan_out/fan_in)).
    "spectral": {ENDS: 0.02, f"{INNER} attn_out": WIDTH, "mlp_down": FF / 2},
    "nanochat": {"wte wpe": 1.0, INNER: WIDTH, f"head {OUT}": 0.0},
    "zero-projections": {f"{ENDS} {INNER}": 0.02, OUT: 0.0},
    # rztx.py: xavier_uniform_ on (3·768, 768), U(±1/sqrt(fan_in)) elsewhere.
    "rezero": {
        ENDS: 0.02, "q k v": (2 / (4 * 768)) ** 0.5, "attn_out mlp_gate mlp_up": WIDTH / 3**0.5,
        "mlp_down": FF / 3**0.5,
    },
    # DeepNet: Xavier with gain β for all but q and k.
    "deepnorm": {
        ENDS: 0.02, "q k": XAVIER_SQUARE, "v attn_out": by(BETA, XAVIER_SQUARE),
        "mlp_gate mlp_up mlp_down": by(BETA, XAVIER_MLP),
    },
    # CaiT: trunc_normal_(std=0.02).
    "layerscale": {f"{ENDS} {INNER} {OUT}": 0.02},
    # nanoGPT-mup, three times the base width.
    "mup": {ENDS: 0.02, INNER: MUP, OUT: by(ROOT, MUP)},
    "completep": {ENDS: 0.02, f"{INNER} {OUT}": MUP},
    "depth-mup": {ENDS: 0.02, f"{INNER} {OUT}": MUP},
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


def config(rule: str, n_layer: int, **fields: object) -> GPTConfig:
    """Build the rule's architecture with every parameter that a GPT can have."""
    shape = {"d_ff": 3072, "n_head": 12, "bias": True, "tied": False, "positions": "learned"}
    return config_for(rule, n_layer=n_layer, **{**shape, **fields})


def expected(rule: str, parameter: Parameter) -> tuple[float, float]:
    """Return mean and std of an entry."""
    site = parameter.site
    if site.role in {"norm_gain", "norm_bias", "bias"}:
        return float(site.role == "norm_gain"), bias_std(rule, parameter)
    (want,) = (want for roles, want in EXPECTED[rule].items() if site.role in roles.split())
    if isinstance(want, dict):
        return 0.0, want[site.n_layer]
    return 0.0, want(site.layer) if callable(want) else want


def bias_std(rule: str, parameter: Parameter) -> float:
    """nn.Linear's own in ReZero's MLP, and else 0."""
    layer = parameter.label.removesuffix(".bias")
    default = {"mlp_up": WIDTH, "mlp_gate": WIDTH, "mlp_down": FF}.get(layer, 0.0)
    return default / 3**0.5 if rule == "rezero" else 0.0


@pytest.mark.parametrize("n_layer", LAYERS)
@pytest.mark.parametrize("rule", EXPECTED)
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_std_of_every_role(rule: str, n_layer: int, activation: str) -> None:
    for parameter in all_parameters(config(rule, n_layer, activation=activation)):
        draw, (mean, std) = get_rule(rule).draw(parameter.site), expected(rule, parameter)
        where = (parameter.label, parameter.site.layer)
        assert draw.mean == mean, where
        assert draw.std == pytest.approx(std, rel=5e-6), where


def std(rule: str, role: str, n_layer: int) -> float:
    listed = all_parameters(config(rule, n_layer))
    return next(get_rule(rule).draw(p.site).std for p in listed if p.site.role == role)


@pytest.mark.parametrize("n_layer", LAYERS)
def test_identities(n_layer: int) -> None:
    """TinyLlama is half of Wang; Wang is small-init·sqrt(10)/n_layer, as llm-foundry has it."""
    wang = std("neox", "mlp_down", n_layer)
    assert std("tinyllama", "mlp_down", n_layer) == pytest.approx(wang / 2)
    assert wang == pytest.approx(std("small-init", "mlp_down", n_layer) * 10**0.5 / n_layer)


def test_by_layer_adds_half_a_harmonic_number() -> None:
    """Σ 1/(2(l+1)) = H/2 over the blocks, where GPT-2's rule adds 1/2."""
    draw = get_rule("torchtitan-llama3").draw
    listed = all_parameters(config("torchtitan-llama3", 48))
    variances = [draw(p.site).std ** 2 for p in listed if p.site.role == "mlp_down"]
    harmonic = sum(1 / i for i in range(1, 49))
    assert sum(variances) == pytest.approx(0.02**2 * harmonic / 2)
