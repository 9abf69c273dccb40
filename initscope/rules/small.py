"""Draws sized by the width alone, after Nguyen & Salazar 2019, and what was made of them."""

from __future__ import annotations

import math

from initscope.rules.core import RESIDUAL, Draw, Rule, Site
from initscope.rules.gaussian import matrices


def small(site: Site) -> float:
    """sqrt(2 / (5·n_embd)): Xavier's std for n_embd to 4·n_embd, given to every matrix."""
    return math.sqrt(2 / (5 * site.n_embd))


def wang(site: Site) -> float:
    """2 / (n_layer·sqrt(n_embd)), with n_embd for mlp_down too."""
    return 2 / (site.n_layer * math.sqrt(site.n_embd))


def neox(site: Site) -> Draw:
    """Small, and Wang's for the weights that write to the stream."""
    return Draw.normal(wang(site) if site.role in RESIDUAL else small(site))


def tinyllama(site: Site) -> Draw:
    """As NeoX, but without the 2 of Wang's formula."""
    return Draw.normal(wang(site) / 2 if site.role in RESIDUAL else small(site))


RULES = (
    Rule(
        name="small-init",
        summary="N(0, sqrt(2/(5·n_embd))) for every matrix; embeddings alike, norm gain 1, "
        "biases 0",
        source="Nguyen & Salazar 2019, arXiv 1910.05895, §2.2; EleutherAI/gpt-neox "
        "megatron/model/init_functions.py small_init_init_method",
        draw=matrices(lambda site: Draw.normal(small(site))),
    ),
    Rule(
        name="neox",
        summary="N(0, sqrt(2/(5·n_embd))); attn_out and mlp_down 2/(n_layer·sqrt(n_embd)); "
        "embeddings sqrt(2/(5·n_embd)), norm gain 1, biases 0; its blocks are parallel, these not",
        source="EleutherAI/gpt-neox megatron/model/init_functions.py small_init_init_method, "
        "wang_init_method; configs/20B.yml",
        draw=matrices(neox),
        architecture={"positions": "rope", "tied": False, "bias": True},
    ),
    Rule(
        name="tinyllama",
        summary="N(0, sqrt(2/(5·n_embd))); attn_out and mlp_down 1/(n_layer·sqrt(n_embd)), half of "
        "neox; embeddings sqrt(2/(5·n_embd)), norm gain 1, biases 0",
        source="jzhang38/TinyLlama lit_gpt/model.py GPT._init_weights; Lightning-AI/litgpt "
        "litgpt/pretrain.py initialize_weights",
        draw=matrices(tinyllama),
        architecture={
            "norm_kind": "rmsnorm", "activation": "swiglu", "positions": "rope", "tied": False,
        },
    ),
)  # fmt: skip
