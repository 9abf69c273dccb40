"""Rules that keep every activation's variance near 1 by calculation: u-μP and DeepScaleLM."""

from __future__ import annotations

import math
from functools import cache

from initscope.rules.core import EMBEDDINGS, Draw, Multipliers, Rule, Site
from initscope.rules.gaussian import matrices

TOKENS = 256  # a sequence's, on which u-μP's factor on attention depends
LAMBDA_SQUARE, BETA_SQUARE = 0.995, 0.005  # of DeepScaleLM's code, whatever the depth


def u_mup(site: Site) -> Draw:
    """N(0, 1) with 1/sqrt(fan_in) of the forward pass, 1/fan_in of the head's, folded in."""
    if site.role in {"wte", "wpe"}:
        return Draw.normal(1.0)
    return Draw.normal(1 / site.fan_in if site.role == "head" else site.fan_in**-0.5)


def between(weight: float, lower: float, upper: float) -> float:
    """Interpolate logarithmically: lower at weight 0, upper at 1."""
    return lower ** (1 - weight) * upper**weight


def u_mup_factors(site: Site) -> Multipliers:
    """(x + τ·f(x))/sqrt(1 + τ²) with τ² = 1/(n_layer + i) for branch i, from 0.

    A branch also has the factors that make attention's mix and the gated hidden layer of
    unit scale: its output is linear in them.
    """
    skips, branches = [], []
    for branch in (2 * site.layer, 2 * site.layer + 1):
        tau_square = 1 / (site.n_layer + max(branch, 0))
        skips.append((1 + tau_square) ** -0.5)
        branches.append((tau_square / (1 + tau_square)) ** 0.5)
    head = site.n_embd / site.n_head
    mix = between(1 / (1 + 4 * head), math.sqrt(math.log(TOKENS) / TOKENS), 1.0)
    return Multipliers(
        attention=head**-0.5, skip_attn=skips[0], skip_mlp=skips[1],
        branch_attn=branches[0] / mix, branch_mlp=branches[1] * between(0.5, 2, math.sqrt(2)),
    )  # fmt: skip


@cache
def correlation(layer: int, skip: float, branch: float) -> float:
    """Correlation of two tokens as block ``layer`` reads them, from 0.221 of English text.

    ``skip`` and ``branch`` weigh the variances of stream and branch. Attention gives every
    token the same, a ReLU MLP a correlation by the arc-cosine kernel (Cho & Saul 2009).
    """
    r, variance = 0.221, 1.0
    for _ in range(layer):
        for mlp in (False, True):
            out = r + (math.sqrt(1 - r * r) - r * math.acos(r)) / math.pi if mlp else 1.0
            total = skip * variance + branch
            r, variance = (skip * r * variance + branch * out) / total, total
    return r


def deepscale(site: Site, skip: float, branch: float) -> Draw:
    """1/sqrt(n_embd), for v and attn_out over r^1/4, for the MLP over 2^1/4."""
    width = site.n_embd**-0.5
    if site.role in EMBEDDINGS:
        return Draw.normal(2**-0.5)
    if site.role in {"v", "attn_out"}:
        return Draw.normal(width * correlation(site.layer, skip, branch) ** -0.25)
    return Draw.normal(width * (2**-0.25 if site.role.startswith("mlp") else 1.0))


def logit_factor(site: Site) -> float:
    """1/sqrt(0.3·n_embd) on the logits."""
    return (0.3 * site.n_embd) ** -0.5


_DEEPSCALE = (
    "N(0, 1/sqrt(n_embd)), v and attn_out over r^1/4 with r the tokens' correlation, the MLP over "
    "2^1/4 for a d_ff of 4·n_embd; logits times 1/sqrt(0.3·n_embd); embeddings 1/sqrt(2) for two "
    "tables, norm gain 1, biases 0"
)
_DEEPSCALE_CODE = (
    "Kedia et al. 2024, arXiv 2403.09635; akhilkedia/TranformersGetStable "
    "DSLM_signal_propagation_figures/megatron/model/utils.py sigma_attn_v_out, transformer.py, "
    "language_model.py, bert_model.py"
)

RULES = (
    Rule(
        name="u-mup",
        summary="N(0, 1/sqrt(fan_in)), head N(0, 1/n_embd): unit weights with the forward pass's "
        "factors folded in, so gradients are autograd's and not u-μP's own; branches weighed by "
        f"1/(n_layer + branch), attention 1/head size, its output scaled for {TOKENS} tokens; "
        "embeddings N(0, 1), norm gain 1, biases 0",
        source="Blake et al. 2024, arXiv 2407.17465, app. G; graphcore-research/unit-scaling 0.3.5 "
        "unit_scaling/functional.py, core/functional.py transformer_residual_scaling_rule",
        draw=matrices(u_mup),
        architecture={
            "norm_kind": "rmsnorm", "activation": "swiglu", "positions": "rope", "tied": False,
        },
        multipliers=u_mup_factors,
    ),
    Rule(
        name="deepscalelm",
        summary=f"stream times sqrt(0.995), branches sqrt(0.005) at every depth; {_DEEPSCALE}",
        source=f"{_DEEPSCALE_CODE} (moment_control_lambda_beta)",
        draw=matrices(lambda site: deepscale(site, LAMBDA_SQUARE, BETA_SQUARE)),
        architecture={"activation": "relu", "bias": True},
        multipliers=lambda site: Multipliers(
            logits=logit_factor(site),
            skip_attn=math.sqrt(LAMBDA_SQUARE), skip_mlp=math.sqrt(LAMBDA_SQUARE),
            branch_attn=math.sqrt(BETA_SQUARE), branch_mlp=math.sqrt(BETA_SQUARE),
        ),
    ),
    Rule(
        name="deepscalelm-sigma",
        summary=f"{_DEEPSCALE}; its stds alone, without factors on stream and branches",
        source=f"{_DEEPSCALE_CODE} (moment_control_sigma)",
        draw=matrices(lambda site: deepscale(site, 1.0, 1.0)),
        architecture={"activation": "relu", "bias": True},
        multipliers=lambda site: Multipliers(logits=logit_factor(site)),
    ),
)  # fmt: skip
