"""Maximal-update parametrisations: the forward pass at initialisation, without learning rates.

Their papers leave the base model to the user; these constants stand for it.
"""

from __future__ import annotations

import dataclasses
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


def mup_example(site: Site) -> Draw:
    """1/sqrt(n_embd) for every matrix, mlp_down too; 0 for q and the head."""
    if site.role in {"wte", "wpe"}:
        return Draw.normal(1.0)
    return Draw.normal(0.0 if site.role in {"q", "head"} else site.n_embd**-0.5)


def cerebras_mup(site: Site) -> Draw:
    """0.08, truncated at ±2 std; mlp_down from the default of 0.02, which the source leaves it."""
    if site.role in EMBEDDINGS:
        return Draw.truncated_normal(0.08)
    if site.role == "mlp_down":
        return Draw.truncated_normal(STD * (4 * BASE_WIDTH / site.d_ff) ** 0.5 * per_residual(site))
    return Draw.truncated_normal(0.08 / math.sqrt(width(site)) * per_residual(site))


def minicpm(site: Site) -> Draw:
    """0.1 for embeddings, 0.1/sqrt(width ratio) for the blocks' matrices, whatever the depth."""
    return Draw.normal(0.1 if site.role in EMBEDDINGS else 0.1 / math.sqrt(width(site)))


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
    Rule(
        name="mup-example",
        summary="post-norm; N(0, 1/sqrt(n_embd)), mlp_down too, q and head 0, so no gradient but "
        f"the head's; {_WIDTH}; embeddings N(0, 1), norm gain 1, biases 0",
        source="microsoft/mup examples/Transformer/model.py TransformerModel, MultiheadAttention; "
        "mup/layer.py MuReadout; base width 256",
        draw=matrices(mup_example),
        architecture={
            "norm": "post", "activation": "relu", "positions": "sinusoidal", "bias": True,
            "tied": False,
        },
        multipliers=factors,
    ),
    Rule(
        name="cerebras-mup",
        summary="N(0, 0.08·sqrt(256/n_embd)) truncated at ±2 std, attn_out /sqrt(2·n_layer), "
        "mlp_down 0.02·sqrt(1024/d_ff)/sqrt(2·n_layer); embeddings 0.08 and times 10, "
        f"{_WIDTH}; norm gain 1, biases 0",
        source="Cerebras/modelzoo f1fd1e0 gpt2_model.py, configs/Cerebras_GPT/111m_mup.yaml, which "
        "leaves mlp_down at the default; base width 256",
        draw=matrices(cerebras_mup),
        architecture={"bias": True},
        multipliers=lambda site: dataclasses.replace(factors(site), embed=10.0),
    ),
    Rule(
        name="minicpm",
        summary="N(0, 0.1·sqrt(256/n_embd)); branches times 1.4/sqrt(n_layer), logits times "
        "256/n_embd; embeddings 0.1 and times 12, norm gain 1, biases 0",
        source="Hu et al. 2024, arXiv 2404.06395, table 7; openbmb/MiniCPM-2B-sft-bf16 "
        "modeling_minicpm.py (scale_depth); base width 256",
        draw=matrices(minicpm),
        architecture={"norm_kind": "rmsnorm", "activation": "swiglu", "positions": "rope"},
        multipliers=lambda site: Multipliers(
            embed=12.0, logits=1 / width(site),
            branch_attn=1.4 / math.sqrt(site.n_layer), branch_mlp=1.4 / math.sqrt(site.n_layer),
        ),
    ),
)  # fmt: skip
