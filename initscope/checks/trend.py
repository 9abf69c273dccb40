"""Checks of the trend: how stream and gradient go with the depth, and over the layers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from initscope import growth
from initscope.checks.core import Answer, Check, Evidence, not_measured
from initscope.growth import Estimate
from initscope.notation import number
from initscope.verdict import Status


def _against(estimate: Estimate, low: float, high: float) -> Status:
    """Compare an interval with what is allowed: the part that lies outside decides."""
    if estimate.low > high or estimate.high < low:
        return Status.BROKEN
    if low <= estimate.low and estimate.high <= high:
        return Status.KEPT
    return Status.INCONCLUSIVE


def _depths(values: pd.DataFrame) -> str:
    """List what the exponent was fitted to: ``0.05 at 12, 0.1 at 24, 0.2 at 48 layers``."""
    means = np.exp(np.log(values).mean(axis=1))
    return ", ".join(f"{number(value)} at {n}" for n, value in means.items()) + " layers"


def _exponent(evidence: Evidence, direction: str, bound: float, what: str) -> Answer:
    values = growth.final_values(evidence.profile, direction)
    estimate = growth.fit(evidence.profile, direction, values)
    if estimate is None:
        return not_measured("needs two depths, each with a signal that is finite and not zero")
    text = f"{what} goes as n_layer^({estimate}): {_depths(values)}"
    left = growth.left(evidence.profile, direction, values)
    low = -bound if left < growth.FADED else -math.inf
    status = _against(estimate, low, bound)
    if evidence.profile.config.norms_output and estimate.high > bound and estimate.low >= low:
        status, text = Status.KEPT, text + _BY_DESIGN
    elif status is Status.INCONCLUSIVE:
        text += _undecided(estimate, low, bound)
    elif status is Status.KEPT and estimate.value < -bound:
        text += f"; at {number(left)} × what it started from it does not fade"
    return Answer(status, text, estimate.value, estimate.reach, bound)


# A norm after the branch adds a variance of 1 a sublayer whatever the weights are (Kim et al.
# 2025, Peri-LN): the growth is the architecture's, and the weights' rule cannot change it.
_BY_DESIGN = (
    "; by design: the norm after each branch adds 1 a sublayer, so the last block changes the "
    "stream by about 1/(2·n_layer) of its variance"
)


def _undecided(estimate: Estimate, *edges: float) -> str:
    inside = [f"{edge:g}" for edge in edges if estimate.low < edge < estimate.high]
    return f"; the interval straddles {' and '.join(inside)}, so more seeds have to decide"


def depth_exponent(evidence: Evidence) -> Answer:
    """Judge the depth exponent of the stream; where it grows, say which branch feeds it."""
    bound = evidence.bounds.depth_exponent
    answer = _exponent(evidence, "forward", bound, "the final residual variance")
    source = growth.source(evidence.profile)
    if answer.status is not Status.BROKEN or (answer.value or 0) < 0 or source is None:
        return answer
    cause = f"{source.site} adds {source.share:.0%} of what the blocks add"
    if source.layer is not None:
        cause += f", in layer {source.layer} alone"
    elif not evidence.shrinks(source.site):
        cause += ", and its std does not shrink with depth"
    return answer._replace(
        message=f"{answer.message}; {cause}", layer=source.layer, site=source.site
    )


def gradient_exponent(evidence: Evidence) -> Answer:
    """Judge the depth exponent of the first layer's gradient over the last's."""
    bound = evidence.bounds.gradient_exponent
    what = "the gradient's variance in the first layer over that in the last"
    return _exponent(evidence, "backward", bound, what)


def _exponential(evidence: Evidence, direction: str, what: str, sign: int) -> Answer:
    """Judge a curve over the layers; ``sign`` is -1 for what travels to the first layer."""
    shape = evidence.shape(direction)
    if shape is None:
        few = f"needs {growth.SHALLOWEST} layers of a signal that is finite and not zero"
        return not_measured(few)
    rate = sign * shape.rate
    text = what.format(factor=number(math.exp(sign * shape.late)))
    if not shape.exponential:
        alone = "" if shape.jump is None else f", mostly in layer {shape.jump} alone"
        return Answer(Status.KEPT, text + alone, rate)
    return Answer(
        Status.BROKEN, f"{text}: exponential, ×{number(math.exp(rate))} a layer", rate,
        layer=shape.layers // 2, site="resid_post",
    )  # fmt: skip


def exponential_stream(evidence: Evidence) -> Answer:
    """Judge whether the stream grows exponentially over the layers."""
    what = "the residual variance changes ×{factor} over the second half of the layers"
    return _exponential(evidence, "forward", what, 1)


def exponential_gradient(evidence: Evidence) -> Answer:
    """Judge whether the gradient grows or vanishes exponentially on its way to the first layer."""
    what = "the gradient's variance changes ×{factor} from the last layer back to the middle"
    return _exponential(evidence, "backward", what, -1)


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
)  # fmt: skip
