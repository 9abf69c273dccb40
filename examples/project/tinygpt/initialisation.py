"""How tinygpt draws its weights, as rules that initscope can measure.

Training uses ``SOUND``. ``LOST`` is the same with a bug that a widely used library had for
GPT-2 (huggingface/transformers #47458): what marks the weights that write to the residual
stream is compared with a parameter's whole name, which it never equals. Nothing fails and the
loss starts where it should, but no weight shrinks with depth any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from initscope import Draw, Rule, Site

STD = 0.02

# The names that tinygpt gives its matrices, by initscope's name of their role.
NAMES = {
    "wte": "wte.weight",
    "wpe": "wpe.weight",
    "q": "h.{layer}.attn.q_proj.weight",
    "k": "h.{layer}.attn.k_proj.weight",
    "v": "h.{layer}.attn.v_proj.weight",
    "attn_out": "h.{layer}.attn.c_proj.weight",
    "mlp_up": "h.{layer}.mlp.c_fc.weight",
    "mlp_down": "h.{layer}.mlp.c_proj.weight",
    "head": "lm_head.weight",
}


def std(name: str, n_layer: int) -> float:
    """Return a matrix's std: 0.02, divided by sqrt(2·n_layer) for both ends of a block."""
    return STD / math.sqrt(2 * n_layer) if name.endswith("c_proj.weight") else STD


def std_with_scaling_lost(name: str, n_layer: int) -> float:
    """Return what was meant to be the same, but the name is never this short."""
    return STD / math.sqrt(2 * n_layer) if name == "c_proj.weight" else STD


def rule(name: str, std_of: Callable[[str, int], float]) -> Rule:
    """Make a rule of a function from a matrix's name and the depth to its std."""

    def draw(site: Site) -> Draw:
        if site.role == "norm_gain":
            return Draw.constant(1.0)
        if site.role in {"norm_bias", "bias"}:
            return Draw.constant(0.0)
        return Draw.normal(std_of(NAMES[site.role].format(layer=site.layer), site.n_layer))

    return Rule(
        name=name,
        summary="N(0, std); norm gain 1, biases 0",
        source="tinygpt/initialisation.py",
        draw=draw,
    )


SOUND = rule("tinygpt", std)
LOST = rule("scaling-lost", std_with_scaling_lost)
