"""Factors on branch or stream that make a deep model behave like a shallow one."""

from __future__ import annotations

from initscope.rules.core import RESIDUAL, Draw, Multipliers, Rule, Site
from initscope.rules.fan import xavier_std
from initscope.rules.gaussian import STD, flat, matrices

LAYER_SCALE = 1e-4


def deepnorm(site: Site) -> Draw:
    """Xavier, times β = (8·n_layer)^-1/4 for all but queries and keys."""
    if site.role in {"wte", "wpe", "head"}:
        return Draw.normal(STD)
    scaled = site.role in RESIDUAL | {"v", "mlp_gate", "mlp_up"}
    return Draw.normal(xavier_std(site) * ((8 * site.n_layer) ** -0.25 if scaled else 1.0))


def deepnorm_factors(site: Site) -> Multipliers:
    """LN(α x + f(x)) with α = (2·n_layer)^1/4."""
    alpha = (2 * site.n_layer) ** 0.25
    return Multipliers(skip_attn=alpha, skip_mlp=alpha)


RULES = (
    Rule(
        name="deepnorm",
        summary="post-norm, stream times (2·n_layer)^1/4; Xavier normal, times (8·n_layer)^-1/4 "
        "but for q and k; embeddings N(0, 0.02), norm gain 1, biases 0",
        source="Wang et al. 2022, arXiv 2203.00555, the decoder-only case; "
        "LiyuanLucasLiu/Transformer-Clinic transformer_layer.py (deepnet)",
        draw=matrices(deepnorm),
        architecture={"norm": "post"},
        multipliers=deepnorm_factors,
    ),
    Rule(
        name="layerscale",
        summary="N(0, 0.02), branches times 0.0001 by feature; embeddings 0.02, norm gain 1, "
        "biases 0",
        source="Touvron et al. 2021, arXiv 2103.17239; facebookresearch/deit cait_models.py "
        "LayerScale_Block (init_values=1e-4)",
        draw=flat,
        architecture={"bias": True},
        multipliers=lambda _site: Multipliers(branch_attn=LAYER_SCALE, branch_mlp=LAYER_SCALE),
    ),
)
