"""Checks of the signal: how stream and gradient grow, and what attention, branches and head do."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from initscope import captions, growth
from initscope.checks.core import RESIDUAL_BRANCHES, Answer, Check, Evidence, not_measured
from initscope.growth import Estimate
from initscope.notation import number
from initscope.verdict import Level, Status


def _against(estimate: Estimate, bound: float) -> Status:
    """Compare an interval with ±bound: the part that lies beyond decides."""
    if estimate.low > bound or estimate.high < -bound:
        return Status.BROKEN
    if -bound <= estimate.low and estimate.high <= bound:
        return Status.KEPT
    return Status.INCONCLUSIVE


def _depths(evidence: Evidence, direction: str) -> str:
    """List what the exponent was fitted to: ``0.05 at 12, 0.1 at 24, 0.2 at 48 layers``."""
    values = np.exp(np.log(growth.final_values(evidence.profile, direction)).mean(axis=1))
    return ", ".join(f"{number(v)} at {n}" for n, v in values.items()) + " layers"


def _exponent(evidence: Evidence, direction: str, bound: float, what: str) -> Answer:
    estimate = evidence.exponent(direction)
    if estimate is None:
        return not_measured("needs two depths, and a signal that is finite and not zero at each")
    status = _against(estimate, bound)
    text = f"{what} goes as n_layer^({estimate}): {_depths(evidence, direction)}"
    if status is Status.BROKEN and evidence.profile.config.norm == "sandwich":
        return Answer(Status.KEPT, text + _BY_DESIGN, estimate.value, estimate.reach, bound)
    return Answer(status, text, estimate.value, estimate.reach, bound)


# A norm after the branch adds a variance of 1 a sublayer whatever the weights are (Kim et al.
# 2025, Peri-LN): the growth is the architecture's, and the weights' rule cannot change it.
_BY_DESIGN = (
    "; by design: the norm after each branch adds 1 a sublayer, so the last block changes the "
    "stream by about 1/(2·n_layer) of its variance"
)


def depth_exponent(evidence: Evidence) -> Answer:
    """Judge the depth exponent of the stream; where it grows, say which branch feeds it."""
    bound = evidence.bounds.depth_exponent
    answer = _exponent(evidence, "forward", bound, "the final residual variance")
    if answer.status is not Status.BROKEN or (answer.value or 0) < 0:
        return answer
    shares = growth.branch_shares(evidence.profile)
    site = max(shares, key=shares.__getitem__, default="")
    if not site:
        return answer
    cause = f"; {site} adds {shares[site]:.0%} of it, and its std does not shrink with depth"
    scaled = _shrinks(evidence, site)
    text = answer.message + (cause if not scaled else f"; {site} adds {shares[site]:.0%} of it")
    return answer._replace(message=text, site=site)


def _shrinks(evidence: Evidence, site: str) -> bool:
    """Whether a weight's std falls as the model gets deeper."""
    depths = sorted(evidence.profile.table["n_layer"].unique())
    variances = (
        evidence.profile.select(site, "weight", "variance", n_layer=int(n)) for n in depths
    )
    stds = [math.sqrt(rows.mean(axis=1).mean()) for rows in variances]
    return len(stds) > 1 and stds[-1] < 0.95 * stds[0]


def gradient_exponent(evidence: Evidence) -> Answer:
    """Judge the depth exponent of the first layer's gradient over the last's."""
    bound = evidence.bounds.gradient_exponent
    return _exponent(
        evidence, "backward", bound, "the gradient entering the first layer over the last's"
    )


def _exponential(evidence: Evidence, direction: str, what: str) -> Answer:
    shape = evidence.shape(direction)
    if shape is None:
        return not_measured(f"needs {growth.SHALLOWEST} layers of a finite signal that is not zero")
    text = f"{what} changes by a factor {number(math.exp(shape.late))} over the last half"
    if not shape.exponential:
        return Answer(Status.KEPT, text, shape.rate)
    return Answer(
        Status.BROKEN, f"{text}: exponential, ×{math.exp(shape.rate):.3g} a layer", shape.rate,
        layer=shape.layers // 2, site="resid_post",
    )  # fmt: skip


def exponential_stream(evidence: Evidence) -> Answer:
    """Judge whether the stream grows exponentially over the layers."""
    return _exponential(evidence, "forward", "the residual variance")


def exponential_gradient(evidence: Evidence) -> Answer:
    """Judge whether the gradient grows or vanishes exponentially over the layers."""
    return _exponential(evidence, "backward", "the gradient's variance")


def finite(evidence: Evidence) -> Answer:
    """Judge whether every activation and gradient is finite."""
    lost = evidence.overflow
    if lost is None:
        return Answer(Status.KEPT, "every activation and gradient is finite")
    text = captions.overflow(evidence.profile) or "not finite"
    return Answer(Status.BROKEN, text, lost.value, layer=lost.layer, site=lost.site)


def headroom(evidence: Evidence) -> Answer:
    """Judge the distance to the largest number that the dtype can hold."""
    name = {"float16": "headroom_fp16"}.get(evidence.profile.run.dtype, "headroom_bf16")
    rows = evidence.profile.table
    rows = rows[(rows["statistic"] == name) & (rows["n_layer"] == evidence.profile.config.n_layer)]
    if rows.empty:
        return not_measured("no activation was recorded")
    least = rows.sort_values("value", kind="stable").iloc[0]
    bits, bound = float(least["value"]), evidence.bounds.headroom
    kept = bits >= bound
    if not math.isfinite(bits):
        return not_measured("an activation is not finite, or all are 0")
    text = f"{number(bits)} bit below the largest {evidence.profile.run.dtype}, at {least['site']}"
    return Answer(
        Status.KEPT if kept else Status.BROKEN, text, bits, bound=bound,
        layer=int(least["layer"]), site=str(least["site"]),
    )  # fmt: skip


def _worst(rows: pd.DataFrame, *, smallest: bool) -> tuple[int, float]:
    """Return the layer with the most extreme mean over seeds, and that mean."""
    means = rows.mean(axis=1).sort_values(ascending=smallest, kind="stable")
    return int(means.index[0]), float(means.iloc[0])


def _limit(rows: pd.DataFrame, bound: float, site: str, text: str, *, smallest: bool) -> Answer:
    """Judge a statistic's most extreme layer against a bound, on the right side of it."""
    if rows.empty or rows.isna().all(axis=None):
        return not_measured("not recorded, or not finite")
    layer, value = _worst(rows, smallest=smallest)
    kept = value >= bound if smallest else value <= bound
    status = Status.KEPT if kept else Status.BROKEN
    said = text.format(value=number(value), layer=layer)
    return Answer(status, said, value, bound=bound, layer=layer, site=site)


def rank_collapse(evidence: Evidence) -> Answer:
    """Judge how alike the tokens become."""
    return _limit(
        evidence.readings("resid_post", "forward", "token_cosine"), evidence.bounds.token_cosine,
        "resid_post", "mean cosine between tokens reaches {value} at layer {layer}", smallest=False,
    )  # fmt: skip


def attention_entropy(evidence: Evidence) -> Answer:
    """Judge whether attention is saturated before training."""
    return _limit(
        evidence.readings("attn", "forward", "attention_entropy"),
        evidence.bounds.attention_entropy, "attn",
        "attention entropy is at least {value} of its maximum, lowest at layer {layer}",
        smallest=True,
    )  # fmt: skip


def initial_loss(evidence: Evidence) -> Answer:
    """Judge the loss before training against that of guessing."""
    rows = evidence.readings("loss", "forward", "loss_excess")
    answer = _limit(
        rows, evidence.bounds.loss_excess, "logits", "the initial loss is ln(vocab) + {value} nat",
        smallest=False,
    )  # fmt: skip
    if answer.status is not Status.BROKEN:
        return answer
    variance = evidence.final("logits", "variance") or math.nan
    want = 1 / math.sqrt(evidence.profile.config.n_embd)
    more = f": logits have std {number(math.sqrt(variance))}; a head of std {number(want)} gives 1"
    return answer._replace(message=answer.message + more)


def dead_branch(evidence: Evidence) -> Answer:
    """Judge whether the last block still changes the stream."""
    found = {site: evidence.final(site, "branch_ratio") for site in RESIDUAL_BRANCHES}
    ratios = {
        site: ratio for site, ratio in found.items()
        if ratio is not None and site not in evidence.zero_branches and math.isfinite(ratio)
    }  # fmt: skip
    if not ratios:
        return not_measured("no branch that is not zero by rule was recorded")
    site = min(ratios, key=ratios.__getitem__)
    last, bound = evidence.profile.config.n_layer - 1, evidence.bounds.branch_share
    status = Status.KEPT if ratios[site] >= bound else Status.BROKEN
    text = f"in the last block {site} adds {number(ratios[site])} of the stream's rms"
    return Answer(status, text, ratios[site], bound=bound, layer=last, site=site)


def branch_balance(evidence: Evidence) -> Answer:
    """Judge whether one branch drowns the other in the last block."""
    attention, mlp = (evidence.final(site, "branch_ratio") for site in RESIDUAL_BRANCHES)
    if not (attention and mlp and math.isfinite(attention) and math.isfinite(mlp)):
        return not_measured("needs both branches, neither zero")
    ratio, bound = mlp / attention, evidence.bounds.branch_balance
    kept = 1 / bound <= ratio <= bound
    small = "mlp_down" if ratio < 1 else "attn_out"
    text = f"in the last block the MLP branch is {number(ratio)} × the attention branch"
    return Answer(
        Status.KEPT if kept else Status.BROKEN, text, ratio, bound=bound,
        layer=evidence.profile.config.n_layer - 1, site=small,
    )  # fmt: skip


CHECKS = (
    Check("IS001", "depth-exponent", "The stream's variance stays bounded as depth grows.",
          depth_exponent, bound="depth_exponent"),
    Check("IS002", "gradient-exponent", "The first layer's gradient stays bounded as depth grows.",
          gradient_exponent, bound="gradient_exponent"),
    Check("IS003", "exponential-stream", "The stream does not grow exponentially over the layers.",
          exponential_stream, reason="linear growth gives ln 2 over the second half whatever the "
          "depth; an exponential gives a rate that does not fall (Schoenholz et al. 2017)"),
    Check("IS004", "exponential-gradient", "The gradient is not exponential over the layers.",
          exponential_gradient, reason="as exponential-stream: a gradient that explodes or "
          "vanishes exponentially leaves most layers untrained (Schoenholz et al. 2017)"),
    Check("IS005", "non-finite", "Every activation and gradient is finite.", finite,
          reason="an infinite or NaN activation never recovers"),
    Check("IS006", "headroom", "Activations stay clear of the dtype's largest number.", headroom,
          bound="headroom"),
    Check("IS007", "initial-loss", "The initial loss is near ln(vocab).", initial_loss,
          bound="loss_excess"),
    Check("IS008", "rank-collapse", "Tokens stay distinct.", rank_collapse, bound="token_cosine"),
    Check("IS009", "attention-entropy", "Attention is not saturated.", attention_entropy,
          bound="attention_entropy"),
    Check("IS010", "branch-balance", "Neither branch drowns the other.", branch_balance,
          bound="branch_balance", level=Level.WARN),
    Check("IS011", "dead-branch", "The last block changes the stream.", dead_branch,
          bound="branch_share"),
)  # fmt: skip
