"""Draws sized by fan_in and fan_out; none knows the depth.

The papers say nothing about embeddings, so all but ``torch`` give them nanoGPT's N(0, 0.02)
(also to an untied head): a comparison then shows the blocks' rule and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from initscope.rules.core import EMBEDDINGS, Draw, Rule, Site
from initscope.rules.gaussian import STD, norm_or_bias


def _matrices(draw: Callable[[Site], Draw]) -> Callable[[Site], Draw]:
    """Apply a draw to the blocks' matrices; the rest as in nanoGPT."""

    def rule(site: Site) -> Draw:
        if site.role in EMBEDDINGS:
            return Draw.normal(STD)
        return norm_or_bias(site) or draw(site)

    return rule


def xavier_std(site: Site) -> float:
    """sqrt(2 / (fan_in + fan_out)), Glorot & Bengio 2010, eq. 12."""
    return math.sqrt(2 / (site.fan_in + site.fan_out))


def spectral_std(site: Site) -> float:
    """sqrt(min(1, fan_out/fan_in) / fan_in), as nanochat reads Yang, Simon & Bernstein 2023."""
    return math.sqrt(min(1, site.fan_out / site.fan_in) / site.fan_in)


def torch_default(site: Site) -> Draw:
    """U(±1/sqrt(fan_in)) for a Linear's weight and bias, N(0, 1) for an Embedding."""
    if site.role in {"wte", "wpe"}:
        return Draw.normal(1.0)
    if site.role in {"norm_gain", "norm_bias"}:
        return Draw.constant(float(site.role == "norm_gain"))
    return Draw.uniform(1 / math.sqrt(site.fan_in))


_REST = "embeddings N(0, 0.02), norm gain 1, biases 0"

RULES = (
    Rule(
        name="xavier",
        summary=f"N(0, sqrt(2/(fan_in+fan_out))); {_REST}",
        source="Glorot & Bengio 2010, eq. 12; torch.nn.init.xavier_normal_",
        draw=_matrices(lambda site: Draw.normal(xavier_std(site))),
    ),
    Rule(
        name="xavier-uniform",
        summary=f"U(±sqrt(6/(fan_in+fan_out))); {_REST}",
        source="Glorot & Bengio 2010, eq. 16; torch.nn.init.xavier_uniform_",
        draw=_matrices(lambda site: Draw.uniform(math.sqrt(3) * xavier_std(site))),
    ),
    Rule(
        name="kaiming",
        summary=f"N(0, sqrt(2/fan_in)); {_REST}",
        source="He et al. 2015, eq. 10; torch.nn.init.kaiming_normal_(nonlinearity='relu')",
        draw=_matrices(lambda site: Draw.normal(math.sqrt(2 / site.fan_in))),
    ),
    Rule(
        name="lecun",
        summary=f"N(0, sqrt(1/fan_in)); {_REST}",
        source="LeCun et al. 1998, Efficient BackProp, eq. 16",
        draw=_matrices(lambda site: Draw.normal(math.sqrt(1 / site.fan_in))),
    ),
    Rule(
        name="orthogonal",
        summary=f"(semi-)orthogonal, gain 1; {_REST}",
        source="Saxe et al. 2013, arXiv 1312.6120; torch.nn.init.orthogonal_",
        draw=_matrices(lambda site: Draw.orthogonal(1.0, site.fan_in, site.fan_out)),
    ),
    Rule(
        name="spectral",
        summary=f"N(0, sqrt(min(1, fan_out/fan_in)/fan_in)); {_REST}",
        source="Yang et al. 2023, arXiv 2310.17813; karpathy/nanochat 3a5e0bc GPT._init_weights",
        draw=_matrices(lambda site: Draw.normal(spectral_std(site))),
    ),
    Rule(
        name="torch",
        summary="U(±1/sqrt(fan_in)), biases too; embeddings N(0, 1), norm gain 1, norm bias 0",
        source="pytorch torch/nn/modules/linear.py, sparse.py, normalization.py reset_parameters",
        draw=torch_default,
    ),
)
