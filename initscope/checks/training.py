"""Checks of a step of training: the signal now, and beside the run's first profile.

What is told of an initialisation need not hold of a trained model: its stream may well grow
exponentially over the layers, and its attention be sharp. How the signal goes over the layers is
therefore judged at step 0 alone.
"""

from __future__ import annotations

import math
from dataclasses import replace

from initscope import captions
from initscope.checks import signal, trend
from initscope.checks.core import Answer, Check, Evidence, not_measured
from initscope.notation import number
from initscope.profile import Profile
from initscope.verdict import Level, Status

_NO_FIRST = "needs an earlier profile of the run beside it, both finite and not zero"


def stream_growth(evidence: Evidence) -> Answer:
    """Judge how the stream's variance went since the first profile."""
    site = "resid_post"
    now, first = (_last(profile, site, "forward", "variance") for profile in _both(evidence))
    what = "the final residual variance is {} × that of step {}"
    layer = evidence.profile.config.n_layer - 1
    return _growth(evidence, now, first, evidence.bounds.stream_growth, what, (layer, site))


def gradient_growth(evidence: Evidence) -> Answer:
    """Judge how the gradient's norm went since the first profile."""
    site = "model"
    now, first = (_last(p, site, "weight_grad", "grad_norm") for p in _both(evidence))
    what = "the gradient's norm is {} × that of step {}"
    layer = evidence.profile.config.n_layer
    return _growth(evidence, now, first, evidence.bounds.gradient_growth, what, (layer, site))


def _both(evidence: Evidence) -> tuple[Profile, Profile | None]:
    return evidence.profile, evidence.first


def _last(profile: Profile | None, site: str, direction: str, statistic: str) -> float:
    """Return a statistic's last row; NaN where there is none."""
    if profile is None:
        return math.nan
    rows = profile.select(site, direction, statistic)
    return math.nan if rows.empty else float(rows.iloc[-1].mean())


def _growth(
    evidence: Evidence, now: float, first: float, bound: float, what: str, where: tuple[int, str]
) -> Answer:
    if evidence.first is None or not (0 < first < math.inf and math.isfinite(now)):
        return not_measured(_NO_FIRST)
    ratio = now / first
    text = what.format(number(ratio), evidence.first.run.step)
    kept = ratio <= bound
    if not kept:
        text += f"; at most {number(bound)} is allowed"
    status = Status.KEPT if kept else Status.BROKEN
    return Answer(status, text, ratio, bound=bound, layer=where[0], site=where[1])


def loss_above_guessing(evidence: Evidence) -> Answer:
    """Judge whether the loss is worse than that of a model that has read nothing."""
    excess, bound = captions.loss_excess(evidence.profile), evidence.bounds.loss_excess
    if excess is None or math.isnan(excess):
        return not_measured("not recorded, or not finite")
    kept = excess <= bound
    sign = "+" if excess >= 0 else "-"
    text = f"the loss is ln(vocab) {sign} {number(abs(excess))} nat"
    if not kept:
        text += f"; at most + {bound:.3g} is allowed: guessing would do better"
    status = Status.KEPT if kept else Status.BROKEN
    layer = evidence.profile.config.n_layer
    return Answer(status, text, excess, bound=bound, layer=layer, site="loss")


def dead_units(evidence: Evidence) -> Answer:
    """Judge whether the MLP's hidden layer is all but silent somewhere."""
    rows = evidence.readings("mlp_act", "forward", "zero_share").mean(axis=1).dropna()
    if rows.empty:
        return not_measured("the MLP's activation was not recorded")
    place = int(rows.to_numpy().argmax())
    layer, share = int(rows.index[place]), float(rows.iloc[place])
    bound = evidence.bounds.dead_units
    kept = share <= bound
    text = f"the MLP's hidden layer has most zeros in layer {layer}: {number(share)} of its entries"
    if not kept:
        text += f"; at most {bound:.4g} is allowed"
    status = Status.KEPT if kept else Status.BROKEN
    return Answer(status, text, share, bound=bound, layer=layer, site="mlp_act")


def token_collapse(evidence: Evidence) -> Answer:
    """Judge how alike the tokens become, by a bound that a healthy run keeps."""
    bounds = replace(evidence.bounds, token_cosine=evidence.bounds.collapsed_cosine)
    return signal.rank_collapse(replace(evidence, bounds=bounds))


NEW = (
    Check("IS101", "stream-growth", "The stream stays near the size that it had at first.",
          stream_growth, bound="stream_growth"),
    Check("IS102", "gradient-growth", "The gradient's norm stays near what it was at first.",
          gradient_growth, bound="gradient_growth"),
    Check("IS103", "loss-above-guessing", "The loss is not above that of guessing.",
          loss_above_guessing, bound="loss_excess"),
    Check("IS104", "dead-units", "No MLP's hidden layer is silent.", dead_units,
          bound="dead_units", level=Level.WARN),
    Check("IS105", "token-collapse", "Tokens stay distinct in training.", token_collapse,
          bound="collapsed_cosine", level=Level.WARN),
)  # fmt: skip


def _at_first(check: Check) -> Check:
    def run(evidence: Evidence) -> Answer:
        if evidence.profile.run.step:
            return not_measured("told of an initialisation alone, which is step 0")
        return check.run(evidence)

    return replace(check, run=run, level=Level.WARN)


# Of the others, what holds of any step. Trained attention is sharp, a branch may fall silent, and
# step 0 of a tuned model is no initialisation: these only warn.
_OTHERS = {check.name: check for check in (*trend.CHECKS, *signal.CHECKS)}
CHECKS = (
    *(_at_first(_OTHERS[name]) for name in ("exponential-stream", "exponential-gradient")),
    *(_OTHERS[name] for name in ("non-finite", "headroom")),
    *(replace(_OTHERS[name], level=Level.WARN)
      for name in ("attention-entropy", "dead-branch")),
    *NEW,
)  # fmt: skip
