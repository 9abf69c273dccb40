"""Checks of the signal itself: its range, its tokens, attention, branches and head."""

from __future__ import annotations

import math

from initscope import captions, digest
from initscope.checks.core import RESIDUAL_BRANCHES, Answer, Check, Evidence, not_measured
from initscope.notation import number
from initscope.verdict import Level, Status


def finite(evidence: Evidence) -> Answer:
    """Judge whether every activation and gradient is finite."""
    lost = evidence.overflow
    if lost is None:
        return Answer(Status.KEPT, "every activation and gradient is finite")
    subject = "the signal" if lost.direction == "forward" else "the"
    text = f"{subject} {captions.overflow(evidence.profile)}{_until(evidence, lost.layer)}"
    return Answer(Status.BROKEN, text, lost.value, layer=lost.layer, site=lost.site)


def _until(evidence: Evidence, layer: int) -> str:
    """Say how the stream grew over the blocks before a layer; empty if it hardly did."""
    curve = evidence.readings("resid_post", "forward", "variance").mean(axis=1)
    before = curve[curve.index < layer]
    if len(before) < 3 or not (before > 0).all():
        return ""
    factor = float(before.iloc[-1] / before.iloc[0]) ** (1 / (len(before) - 1))
    if factor < digest.NOTABLE_STEP:
        return ""
    return f"; until then the residual variance changes ×{number(factor)} a layer"


def headroom(evidence: Evidence) -> Answer:
    """Judge the distance to the largest number that the dtype can hold."""
    if evidence.overflow is not None and evidence.overflow.direction == "forward":
        return not_measured("an activation is not finite")
    name = {"float16": "headroom_fp16"}.get(evidence.profile.run.dtype, "headroom_bf16")
    rows = evidence.profile.table
    rows = rows[(rows["statistic"] == name) & (rows["n_layer"] == evidence.profile.config.n_layer)]
    rows = rows[rows["value"] < math.inf]  # a site of zeros has no largest activation
    if rows.empty:
        return not_measured("no activation was recorded that is not 0")
    least = rows.sort_values("value", kind="stable").iloc[0]
    bits, bound = float(least["value"]), evidence.bounds.headroom
    layer, site = int(least["layer"]), str(least["site"])
    where = captions.place(evidence.profile, layer, site)
    side = "below" if bits >= 0 else "above"
    text = (
        f"the largest activation is {number(abs(bits))} bit {side} the largest number of "
        f"{evidence.profile.run.dtype}, at {where}"
    )
    return _against(bits, bound, text, layer=layer, site=site, smallest=True)


def _against(
    value: float, bound: float, text: str, *, layer: int, site: str, smallest: bool
) -> Answer:
    """Compare a value with its bound, a least or a most, and say so where it is broken."""
    kept = value >= bound if smallest else value <= bound
    if not kept:
        limit = "at least {:.3g} is wanted" if smallest else "at most {:.3g} is allowed"
        text += f"; {limit.format(bound)}"
    status = Status.KEPT if kept else Status.BROKEN
    return Answer(status, text, value, bound=bound, layer=layer, site=site)


def _limit(
    evidence: Evidence, where: tuple[str, str], bound: float, text: str, *, smallest: bool
) -> Answer:
    """Judge the most extreme layer of a statistic, ``where`` being (site, statistic).

    ``text`` says the ``{value}`` and its ``{place}``.
    """
    site, statistic = where
    means = evidence.readings(site, "forward", statistic).mean(axis=1).dropna()
    if means.empty:
        return not_measured("not recorded, or not finite")
    means = means.sort_values(ascending=smallest, kind="stable")
    layer, value = int(means.index[0]), float(means.iloc[0])
    place = captions.place(evidence.profile, layer, site)
    said = text.format(value=number(value), place=place)
    return _against(value, bound, said, layer=layer, site=site, smallest=smallest)


def rank_collapse(evidence: Evidence) -> Answer:
    """Judge how alike the tokens become."""
    return _limit(
        evidence, ("resid_post", "token_cosine"), evidence.bounds.token_cosine,
        "the mean cosine between tokens is largest at {place}: {value}", smallest=False,
    )  # fmt: skip


def attention_entropy(evidence: Evidence) -> Answer:
    """Judge whether attention is saturated before training."""
    return _limit(
        evidence, ("attn", "attention_entropy"), evidence.bounds.attention_entropy,
        "attention's entropy is least at {place}: {value} of its maximum", smallest=True,
    )  # fmt: skip


def initial_loss(evidence: Evidence) -> Answer:
    """Judge the loss before training against that of guessing."""
    excess = captions.loss_excess(evidence.profile)
    if excess is None or not math.isfinite(excess):
        return not_measured("not recorded, or not finite")
    sign = "+" if excess >= 0 else "-"
    text = f"the initial loss is ln(vocab) {sign} {number(abs(excess))} nat"
    last = evidence.profile.config.n_layer
    answer = _against(
        excess, evidence.bounds.loss_excess, text, layer=last, site="logits", smallest=False
    )
    kept = answer.status is Status.KEPT
    return answer if kept else answer._replace(message=answer.message + _quieter(evidence))


def _quieter(evidence: Evidence) -> str:
    """Say which std of the head gives logits of std 1: they go in proportion after a norm."""
    config = evidence.profile.config
    head = evidence.readings("wte" if config.tied else "head", "weight", "variance")
    logits = evidence.final("logits", "variance")
    if logits is None or head.empty:
        return ""
    text = f": the logits have std {number(math.sqrt(logits))}"
    if config.norm == "none":
        return text
    want = math.sqrt(float(head.iloc[0].mean()) / logits)
    return f"{text}, a head of std {number(want)} would give 1"


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
    text = f"in the last block {site} adds {number(ratios[site])} of the stream's rms"
    return _against(
        ratios[site], evidence.bounds.branch_share, text,
        layer=evidence.profile.config.n_layer - 1, site=site, smallest=True,
    )  # fmt: skip


def branch_balance(evidence: Evidence) -> Answer:
    """Judge whether one branch drowns the other in the last block."""
    attention, mlp = (evidence.final(site, "branch_ratio") for site in RESIDUAL_BRANCHES)
    if not (attention and mlp and math.isfinite(attention) and math.isfinite(mlp)):
        return not_measured("needs both branches, neither zero")
    ratio, bound = mlp / attention, evidence.bounds.branch_balance
    kept = 1 / bound <= ratio <= bound
    small = "mlp_down" if ratio < 1 else "attn_out"
    text = f"in the last block the MLP branch is {number(ratio)} × the attention branch"
    if not kept:
        text += f"; at most {bound:.3g} × either way is allowed"
    return Answer(
        Status.KEPT if kept else Status.BROKEN, text, ratio, bound=bound,
        layer=evidence.profile.config.n_layer - 1, site=small,
    )  # fmt: skip


CHECKS = (
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
