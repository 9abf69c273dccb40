"""Maximal-update parametrisations: the forward pass at initialisation, without learning rates.

Their papers leave the base model to the user; these constants stand for it.
"""

from __future__ import annotations

import math

from initscope.rules.core import EMBEDDINGS, Draw, Multipliers, Rule, Site
from initscope.rules.gaussian import STD, matrices, per_residual

BASE_WIDTH = 256
BASE_DEPTH = 2


def width(site: Site) -> float:
    """How many times wider than the base model."""
    return site.n_embd / BASE_WIDTH


def hidden(site: Site) -> Draw:
    """0.02 for embeddings, 0.02/sqrt(width ratio) for the blocks' matrices."""
    return Draw.normal(STD if site.role in EMBEDDINGS else STD / math.sqrt(width(site)))


def mup(site: Site) -> Draw:
    """As hidden, with GPT-2's division of the weights that write to the stream."""
    return Draw.normal(hidden(site).scale * per_residual(site))


def factors(site: Site, branch: float = 1.0) -> Multipliers:
    """Attention by 1/head size, logits by 1/width ratio, and the branches' factor."""
    return Multipliers(
        attention=(site.n_embd // site.n_head) ** -0.5, logits=1 / width(site),
        branch_attn=branch, branch_mlp=branch,
    )  # fmt: skip


_WIDTH = "attention 1/head size, logits times 256/n_embd"
_REST = "embeddings 0.02, norm gain 1, biases 0"

RULES = (
    Rule(
        name="mup",
        summary="N(0, 0.02·sqrt(256/n_embd)); attn_out and mlp_down /sqrt(2·n_layer); "
        f"{_WIDTH}; {_REST}",
        source="EleutherAI/nanoGPT-mup b2a5e60 model.py GPT.__init__, GPT.forward; base width 256",
        draw=matrices(mup),
        multipliers=factors,
    ),
    Rule(
        name="completep",
        summary=f"N(0, 0.02·sqrt(256/n_embd)); branches times 2/n_layer, {_WIDTH}; {_REST}",
        source="Dey et al. 2025, arXiv 2505.01618; EleutherAI/nanoGPT-mup branch completep "
        "model.py GPT.__init__, Block (depth_alpha_exp=1); base width 256, base depth 2",
        draw=matrices(hidden),
        multipliers=lambda site: factors(site, BASE_DEPTH / site.n_layer),
    ),
    Rule(
        name="depth-mup",
        summary=f"N(0, 0.02·sqrt(256/n_embd)); branches times 1/sqrt(n_layer), {_WIDTH}; {_REST}",
        source="Yang et al. 2023, arXiv 2310.02244; EleutherAI/nanoGPT-mup branch completep "
        "model.py Block (depth_alpha_exp=0.5); base width 256, base depth 1",
        draw=matrices(hidden),
        multipliers=lambda site: factors(site, site.n_layer**-0.5),
    ),
)
