"""Normal draws of one fixed standard deviation: the GPT-2 family."""

from __future__ import annotations

import math

from initscope.rules.core import RESIDUAL, Draw, Rule, Site

STD = 0.02


def norm_or_bias(site: Site) -> Draw | None:
    """Gain 1, every bias 0: what all rules but PyTorch's own give; None for a matrix."""
    if site.role == "norm_gain":
        return Draw.constant(1.0)
    if site.role in {"norm_bias", "bias"}:
        return Draw.constant(0.0)
    return None


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

RULES = (NANOGPT, NANOGPT_FLAT)
