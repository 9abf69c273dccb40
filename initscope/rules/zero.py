"""Branches that add exactly nothing at initialisation: the stream stays as it was embedded."""

from __future__ import annotations

import math

from initscope.rules.core import EMBEDDINGS, RESIDUAL, Draw, Multipliers, Rule, Site
from initscope.rules.fan import spectral_std, torch_default
from initscope.rules.gaussian import STD, flat, matrices


def in_mlp(site: Site) -> bool:
    """Whether a matrix or bias is the MLP's; only its maps begin or end in d_ff."""
    return site.d_ff in {site.fan_in, site.fan_out}


def rezero(site: Site) -> Draw:
    """What nn.MultiheadAttention and nn.Linear draw by themselves; embeddings as nanoGPT's."""
    if site.role in EMBEDDINGS:
        return Draw.normal(STD)
    if site.role in {"q", "k", "v"}:  # xavier_uniform_ on the three of them as one matrix
        return Draw.uniform(math.sqrt(6 / (4 * site.n_embd)))
    if site.role == "bias" and not in_mlp(site):
        return Draw.constant(0.0)
    return torch_default(site)


def zero_projections(site: Site) -> Draw:
    """N(0, 0.02), and 0 for the weights that write to the stream."""
    return Draw.constant(0.0) if site.role in RESIDUAL else flat(site)


def nanochat(site: Site) -> Draw:
    """The spectral draw, and 0 for the head and the weights that write to the stream."""
    if site.role in RESIDUAL | {"head"}:
        return Draw.constant(0.0)
    return Draw.normal(1.0 if site.role in EMBEDDINGS else spectral_std(site))


RULES = (
    Rule(
        name="rezero",
        summary="branches times 0, no norm; q, k, v U(±sqrt(1.5/n_embd)), else U(±1/sqrt(fan_in)), "
        "the MLP's biases too; embeddings N(0, 0.02), attention biases 0",
        source="Bachlechner et al. 2020, arXiv 2003.04887; majumderb/rezero "
        "rezero/transformer/rztx.py RZTXEncoderLayer; pytorch MultiheadAttention._reset_parameters",
        draw=rezero,
        architecture={"norm": "none", "activation": "relu", "bias": True},
        multipliers=lambda _site: Multipliers(branch_attn=0.0, branch_mlp=0.0),
    ),
    Rule(
        name="zero-projections",
        summary="N(0, 0.02); attn_out and mlp_down 0; embeddings 0.02, norm gain 1, biases 0",
        source="karpathy/nanochat 3a5e0bc nanochat/gpt.py GPT.init_weights for the zeros; "
        "karpathy/nanoGPT model.py for all else",
        draw=zero_projections,
    ),
    Rule(
        name="nanochat",
        summary="N(0, sqrt(min(1, fan_out/fan_in)/fan_in)); attn_out, mlp_down and head 0, so no "
        "gradient but the head's; embeddings N(0, 1) without its norm after them, norm gain 1, "
        "biases 0",
        source="karpathy/nanochat 3a5e0bc nanochat/gpt.py GPT.init_weights, GPT._init_weights",
        draw=matrices(nanochat),
        architecture={
            "norm_kind": "rmsnorm", "activation": "relu2", "positions": "rope", "qk_norm": True,
            "tied": False,
        },
    ),
)  # fmt: skip
