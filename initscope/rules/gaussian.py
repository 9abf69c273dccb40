"""Normal draws of one fixed standard deviation: the GPT-2 family."""

from __future__ import annotations

import math
from collections.abc import Callable

from initscope.rules.core import RESIDUAL, Draw, Rule, Site

STD = 0.02


def norm_or_bias(site: Site) -> Draw | None:
    """Gain 1, every bias 0: what all rules but PyTorch's own give; None for a matrix."""
    if site.role == "norm_gain":
        return Draw.constant(1.0)
    if site.role in {"norm_bias", "bias"}:
        return Draw.constant(0.0)
    return None


def matrices(draw: Callable[[Site], Draw]) -> Callable[[Site], Draw]:
    """Draw every matrix, embeddings and head too, as told; gain 1, every bias 0."""
    return lambda site: norm_or_bias(site) or draw(site)


def flat(site: Site) -> Draw:
    """N(0, 0.02) for every matrix, whatever the depth."""
    return norm_or_bias(site) or Draw.normal(STD)


def residual_scaled(site: Site) -> Draw:
    """N(0, 0.02), divided by sqrt(2·n_layer) for the weights that write to the stream."""
    if site.role in RESIDUAL:
        return Draw.normal(STD / math.sqrt(2 * site.n_layer))
    return flat(site)


NANOGPT = Rule(
    name="nanogpt",
    summary="N(0, 0.02); c_proj 0.02/sqrt(2·n_layer); embeddings 0.02, norm gain 1, biases 0",
    source="karpathy/nanoGPT model.py GPT.__init__, GPT._init_weights; Radford et al. 2019 §2.3",
    draw=residual_scaled,
)
NANOGPT_FLAT = Rule(
    name="nanogpt-flat",
    summary="N(0, 0.02) everywhere, c_proj too; embeddings 0.02, norm gain 1, biases 0",
    source="openai/gpt-2 src/model.py conv1d(w_init_stdev=0.02), with position embeddings 0.02",
    draw=flat,
)


def per_residual(site: Site) -> float:
    """1/sqrt(2·n_layer) for the weights that write to the stream, 1 for all others."""
    return (2 * site.n_layer) ** -0.5 if site.role in RESIDUAL else 1.0


def gpt2_code(site: Site) -> Draw:
    """N(0, 0.02) for every matrix but the position embedding, which has half of it."""
    return Draw.normal(STD / 2) if site.role == "wpe" else flat(site)


def opt(site: Site) -> Draw:
    """Megatron's draw with a std of 0.006."""
    return Draw.normal(0.006 * per_residual(site))


def mt_nlg(site: Site) -> Draw:
    """Megatron's draw with a std of sqrt(1/(3·n_embd))."""
    return Draw.normal(math.sqrt(1 / (3 * site.n_embd)) * per_residual(site))


def cerebras(site: Site) -> Draw:
    """GPT-2's draw, truncated at twice its std and so 0.88 of it in effect."""
    return Draw.truncated_normal(STD * per_residual(site), cut=2.0)


_REST = "embeddings 0.02, norm gain 1, biases 0"

RULES = (
    NANOGPT,
    NANOGPT_FLAT,
    Rule(
        name="gpt2",
        summary="N(0, 0.02), c_proj too: GPT-2 as released; position embeddings N(0, 0.01), "
        "norm gain 1, biases 0",
        source="openai/gpt-2 src/model.py conv1d, norm, model",
        draw=gpt2_code,
        architecture={"activation": "gelu_tanh", "bias": True},
    ),
    Rule(
        name="mingpt",
        summary=f"N(0, 0.02); c_proj 0.02/sqrt(2·n_layer), head not tied; {_REST}",
        source="karpathy/minGPT mingpt/model.py GPT.__init__, GPT._init_weights",
        draw=residual_scaled,
        architecture={"activation": "gelu_tanh", "bias": True, "tied": False},
    ),
    Rule(
        name="megatron",
        summary=f"N(0, 0.02); attn_out and mlp_down 0.02/sqrt(2·n_layer); {_REST}",
        source="NVIDIA/Megatron-LM megatron/core/utils.py init_method_normal, "
        "scaled_init_method_normal",
        draw=residual_scaled,
        architecture={"bias": True},
    ),
    Rule(
        name="opt",
        summary="N(0, 0.006); attn_out and mlp_down 0.006/sqrt(2·n_layer); embeddings 0.006, "
        "norm gain 1, biases 0",
        source="Zhang et al. 2022, arXiv 2205.01068, §2.2",
        draw=matrices(opt),
        architecture={"activation": "relu", "bias": True},
    ),
    Rule(
        name="mt-nlg",
        summary="N(0, sqrt(1/(3·n_embd))); attn_out and mlp_down that/sqrt(2·n_layer); "
        "embeddings alike, norm gain 1, biases 0",
        source="Smith et al. 2022, arXiv 2201.11990, as quoted in bigscience-workshop/bigscience "
        "train/tr11-176B-ml/README.md",
        draw=matrices(mt_nlg),
        architecture={"bias": True},
    ),
    Rule(
        name="bloom",
        summary="N(0, sqrt(1/(3·n_embd))); attn_out and mlp_down that/sqrt(2·n_layer); ALiBi, "
        "and a norm on the embeddings, which are drawn alike; norm gain 1, biases 0",
        source="bigscience-workshop/bigscience train/tr11-176B-ml/README.md; "
        "bigscience-workshop/Megatron-DeepSpeed megatron/model/utils.py scaled_init_method_normal",
        draw=matrices(mt_nlg),
        architecture={
            "activation": "gelu_tanh", "positions": "alibi", "embed_norm": True, "bias": True,
        },
    ),
    Rule(
        name="cerebras",
        summary="N(0, 0.02) truncated at ±2 std; attn_out and mlp_down /sqrt(2·n_layer); "
        "embeddings alike, norm gain 1, biases 0",
        source="Cerebras/modelzoo gpt2_model.py, gpt3/configs/Cerebras_GPT/111m.yaml",
        draw=matrices(cerebras),
        architecture={"bias": True},
    ),
)  # fmt: skip
