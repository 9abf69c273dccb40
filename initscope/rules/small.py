"""Draws sized by the width alone, after Nguyen & Salazar 2019, and what was made of them."""

from __future__ import annotations

import math

from initscope.rules.core import EMBEDDINGS, RESIDUAL, Draw, Multipliers, Rule, Site
from initscope.rules.fan import xavier_std
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


def without_tears(site: Site) -> Draw:
    """Small for attention, Xavier's for the MLP; the two agree where d_ff is 4·n_embd."""
    if site.role in EMBEDDINGS:
        return Draw.normal(site.n_embd**-0.5)
    return Draw.normal(xavier_std(site) if site.role.startswith("mlp") else small(site))


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
        "embeddings sqrt(2/(5·n_embd)), norm gain 1, biases 0",
        source="EleutherAI/gpt-neox megatron/model/init_functions.py small_init_init_method, "
        "wang_init_method; configs/20B.yml",
        draw=matrices(neox),
        architecture={
            "branches": "parallel", "positions": "rope", "rope_share": 0.25, "tied": False,
            "bias": True,
        },
    ),
    Rule(
        name="transformers-without-tears",
        summary="q, k, v and attn_out N(0, sqrt(2/(5·n_embd))), the MLP sqrt(2/(fan_in+fan_out)); "
        "ScaleNorm, which at initialisation is this RMSNorm of gain 1; embeddings "
        "N(0, 1/sqrt(n_embd)) times sqrt(n_embd), norm gain 1, biases 0",
        source="Nguyen & Salazar 2019, arXiv 1910.05895; tnq177/transformers_without_tears "
        "layers.py MultiheadAttention, FeedForward, ScaleNorm; model.py",
        draw=matrices(without_tears),
        architecture={
            "norm_kind": "rmsnorm", "activation": "relu", "positions": "sinusoidal", "bias": True,
        },
        multipliers=lambda site: Multipliers(embed=math.sqrt(site.n_embd)),
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
