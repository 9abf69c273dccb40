"""DeepNorm and Sub-LN: Microsoft's two ways to a deep decoder, from paper and from code.

torchscale defines a Xavier draw for attention, MultiheadAttention.reset_parameters, and calls
it nowhere: what its decoder holds is nn.Linear's own draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from initscope.rules.core import EMBEDDINGS, RESIDUAL, Draw, Multipliers, Rule, Site
from initscope.rules.depth import deepnorm_factors
from initscope.rules.fan import torch_default, xavier_std
from initscope.rules.gaussian import STD, matrices
from initscope.rules.variants import times

SCALED = RESIDUAL | {"v", "mlp_gate", "mlp_up"}


def gamma(site: Site) -> float:
    """sqrt(ln(2·n_layer)), of a decoder alone."""
    return math.sqrt(math.log(2 * site.n_layer))


def sub_ln(site: Site) -> Draw:
    """Xavier's normal, times γ for all but q and k."""
    if site.role in EMBEDDINGS:
        return Draw.normal(STD)
    return Draw.normal(xavier_std(site) * (gamma(site) if site.role in SCALED else 1.0))


def torchscale(scale: Callable[[Site], float]) -> Callable[[Site], Draw]:
    """nn.Linear's draw, the weights and biases of all but q and k times a factor."""

    def draw(site: Site) -> Draw:
        if site.role in EMBEDDINGS:
            return Draw.normal(site.n_embd**-0.5)
        return times(torch_default(site), scale(site) if site.module in SCALED else 1.0)

    return draw


def factors(site: Site, stream: Multipliers | None = None) -> Multipliers:
    """Embeddings times sqrt(n_embd), and DeepNorm's factor on the stream if given."""
    skip = 1.0 if stream is None else stream.skip_attn
    return Multipliers(embed=math.sqrt(site.n_embd), skip_attn=skip, skip_mlp=skip)


_DRAW = "U(±1/sqrt(fan_in)), biases too; v, attn_out and the MLP, biases too,"
_REST = "embeddings N(0, 1/sqrt(n_embd)) times sqrt(n_embd), norm gain 1"
_CODE = "microsoft/torchscale torchscale/architecture/decoder.py Decoder.__init__"

RULES = (
    Rule(
        name="sub-ln",
        summary="norms before attn_out and mlp_down as well; Xavier normal, times "
        "sqrt(ln(2·n_layer)) but for q and k; embeddings N(0, 0.02), norm gain 1, biases 0",
        source="Wang et al. 2022, arXiv 2210.06423 (Magneto), fig. 2, the decoder-only case",
        draw=matrices(sub_ln),
        architecture={"inner_norm": True},
    ),
    Rule(
        name="sub-ln-torchscale",
        summary=f"norms before attn_out and mlp_down as well; {_DRAW} times sqrt(ln(2·n_layer)); "
        f"{_REST}",
        source=f"{_CODE} (subln); component/multihead_attention.py, feedforward_network.py",
        draw=torchscale(gamma),
        architecture={"inner_norm": True, "bias": True, "tied": False},
        multipliers=factors,
    ),
    Rule(
        name="deepnorm-torchscale",
        summary=f"post-norm, stream times (2·n_layer)^1/4; {_DRAW} /(8·n_layer)^1/4; {_REST}",
        source=f"{_CODE} (deepnorm), DecoderLayer.residual_connection",
        draw=torchscale(lambda site: (8 * site.n_layer) ** -0.25),
        architecture={"norm": "post", "bias": True, "tied": False},
        multipliers=lambda site: factors(site, deepnorm_factors(site)),
    ),
)
