"""Branches that add exactly nothing at initialisation: the stream stays as it was embedded."""

from __future__ import annotations

import math

from initscope.rules.core import EMBEDDINGS, RESIDUAL, Draw, Multipliers, Rule, Site
from initscope.rules.fan import spectral_std, torch_default
from initscope.rules.gaussian import STD, flat, matrices


def rezero(site: Site) -> Draw:
    """What nn.MultiheadAttention and nn.Linear draw by themselves; embeddings as nanoGPT's."""
    if site.role in EMBEDDINGS:
        return Draw.normal(STD)
    if site.role in {"q", "k", "v"}:  # xavier_uniform_ on the three of them as one matrix
        return Draw.uniform(math.sqrt(6 / (4 * site.n_embd)))
    if site.role == "bias" and not site.module.startswith("mlp"):
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


def nanochat_latest(site: Site) -> Draw:
    """The same std of 1/sqrt(n_embd) as a uniform, and less of it for the MLP."""
    if site.role in RESIDUAL:
        return Draw.constant(0.0)
    if site.role in EMBEDDINGS:
        return Draw.normal(0.001 if site.role == "head" else 0.8)
    return Draw.uniform(math.sqrt(3 / site.n_embd) * (0.4 if site.role.startswith("mlp") else 1.0))


def embedding_shares(n_layer: int) -> list[float]:
    """Return the stream in units of the embedding, before each block and after the last.

    Block l of L reads λ·x + μ·embedding, with λ from 1.15 down to 1.05 and μ from 0.2 to 0.05,
    and its branches add 0.
    """
    shares = [1.0]
    for layer in range(n_layer):
        depth = layer / max(n_layer - 1, 1)
        shares.append((1.15 - 0.1 * depth) * shares[-1] + 0.2 - 0.15 * depth)
    return shares


def nanochat_factors(site: Site) -> Multipliers:
    """Attention by 1.2² more, and the factor by which λ and μ change the stream."""
    inside = 0 <= site.layer < site.n_layer
    before, after = embedding_shares(site.n_layer)[site.layer :][:2] if inside else (1.0, 1.0)
    return Multipliers(attention=1.2**2, skip_attn=after / before)


def modded_nanogpt(site: Site) -> Draw:
    """Half of 1/sqrt(fan_in) as a uniform, and 0 for the head and what writes to the stream."""
    if site.role in RESIDUAL | {"head"}:
        return Draw.constant(0.0)
    if site.role in EMBEDDINGS:
        return Draw.normal(1.0)
    return Draw.uniform(math.sqrt(3 / site.fan_in) / 2)


SPEEDRUN = {
    "norm_kind": "rmsnorm", "activation": "relu2", "positions": "rope", "qk_norm": True,
    "embed_norm": True, "tied": False,
}  # fmt: skip

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
        "gradient but the head's; embeddings N(0, 1), then normed, norm gain 1, biases 0",
        source="karpathy/nanochat 3a5e0bc nanochat/gpt.py GPT.init_weights, GPT._init_weights",
        draw=matrices(nanochat),
        architecture=SPEEDRUN,
    ),
    Rule(
        name="nanochat-latest",
        summary="U(±sqrt(3/n_embd)), the MLP 0.4 of it; attn_out and mlp_down 0, head N(0, 0.001), "
        "q and k times 1.2; the embedding's share added before each block is a factor on the "
        "stream here, so between embedding and head only the forward pass is its own; embeddings "
        "N(0, 0.8), then normed, norm gain 1, biases 0",
        source="karpathy/nanochat 92d63d4 nanochat/gpt.py GPT.init_weights, GPT.forward",
        draw=matrices(nanochat_latest),
        architecture={**SPEEDRUN, "rope_theta": 100_000.0},
        multipliers=nanochat_factors,
    ),
    Rule(
        name="modded-nanogpt",
        summary="U(±sqrt(3/fan_in)/2); attn_out, mlp_down and head 0, so no gradient but the "
        "head's; attention's logits times 0.12; without its value embeddings and the skips "
        "between its layers; embeddings N(0, 1), then normed, norm gain 1, biases 0",
        source="KellerJordan/modded-nanogpt 16e2da07 train_gpt.py CausalSelfAttention, MLP, GPT",
        draw=matrices(modded_nanogpt),
        architecture={**SPEEDRUN, "rope_share": 0.5, "rope_theta": 1024.0},
        multipliers=lambda site: Multipliers(
            attention=0.12 * math.sqrt(site.n_embd / site.n_head)
        ),
    ),
)  # fmt: skip
