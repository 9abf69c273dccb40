"""What circulates as nanoGPT's initialisation and is not: each error as a rule to measure."""

from __future__ import annotations

import math
from collections.abc import Callable

from initscope.rules.core import RESIDUAL, Draw, Rule, Site
from initscope.rules.gaussian import STD, flat, residual_scaled


def _residual(factor: Callable[[Site], float]) -> Callable[[Site], Draw]:
    """N(0, 0.02), times a factor for the weights that write to the stream."""
    return lambda site: Draw.normal(STD * factor(site)) if site.role in RESIDUAL else flat(site)


def narrow_mlp(site: Site) -> Draw:
    """nanoGPT's, but the MLP's matrices have 0.02/sqrt(n_embd)."""
    if site.role in {"mlp_gate", "mlp_up", "mlp_down"}:
        return Draw.normal(STD / math.sqrt(site.n_embd))
    return residual_scaled(site)


_REST = "embeddings 0.02, norm gain 1, biases 0"
_SOURCE = "no source: karpathy/nanoGPT model.py says 0.02/sqrt(2·n_layer), and never said"

RULES = (
    Rule(
        name="folklore-times-0.02",
        summary=f"N(0, 0.02); attn_out and mlp_down that times 0.02; {_REST}",
        source=f"{_SOURCE} `weight *= 0.02`",
        draw=_residual(lambda _site: 0.02),
    ),
    Rule(
        name="folklore-sqrt-2-over-l",
        summary=f"N(0, 0.02); attn_out and mlp_down that times sqrt(2/n_layer); {_REST}",
        source=f"{_SOURCE} `weight *= sqrt(2/n_layer)`",
        draw=_residual(lambda site: math.sqrt(2 / site.n_layer)),
    ),
    Rule(
        name="folklore-1-over-sqrt-l",
        summary=f"N(0, 0.02); attn_out and mlp_down 0.02/sqrt(n_layer); {_REST}",
        source=f"{_SOURCE} that blocks are counted: it counts the two branches of each",
        draw=_residual(lambda site: site.n_layer**-0.5),
    ),
    Rule(
        name="folklore-ffn",
        summary=f"N(0, 0.02); attn_out 0.02/sqrt(2·n_layer), the MLP 0.02/sqrt(n_embd); {_REST}",
        source=f"{_SOURCE} that the width matters",
        draw=narrow_mlp,
    ),
)
