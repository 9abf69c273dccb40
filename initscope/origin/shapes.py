"""The shapes that a distribution can have, and how surprising a statistic is under each.

Entries are taken in units of the draw's own standard deviation. Four statistics are compared,
each with its sampling distribution under the draw:

- the variance: a chi-square of ``2 n / (κ + 2)`` degrees of freedom, κ the draw's excess kurtosis
  (Wilson & Hilferty 1931, PNAS 17:684);
- the mean: normal, of variance 1/n;
- Geary's ratio E|x| / σ (Geary 1935, Biometrika 27:310): normal, of the variance that the delta
  method gives; it sees heavy tails and needs no fourth moment, whose sample value is skewed;
- the largest |x|: ``P(max ≤ m) = P(|x| ≤ m)^n``, exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from initscope.rules.core import Draw, truncated_std

ROOT_2 = math.sqrt(2)
ROUNDED = 1e-5  # a draw computed in float32 passes its bound by less
FEW = 30  # below this many entries Geary's ratio is not yet normal


@dataclass(frozen=True, slots=True)
class Shape:
    """A symmetric distribution of variance 1: a normal cut at ±cut (nominal σ), or a uniform.

    ``cut`` is infinite for a normal and 0 for a uniform, to which a normal cut ever closer tends.
    """

    cut: float

    @property
    def bound(self) -> float:
        """Largest |x|."""
        if self.cut == 0:
            return math.sqrt(3)
        return math.inf if math.isinf(self.cut) else self.cut / truncated_std(self.cut)

    def absolute_moment(self, order: int) -> float:
        """E|x|^order."""
        if self.cut == 0:
            return math.sqrt(3) ** order / (order + 1)
        return _moment(self.cut, order) / _moment(self.cut, 2) ** (order / 2)

    @property
    def kurtosis(self) -> float:
        """Excess kurtosis."""
        return self.absolute_moment(4) - 3

    def share_beyond(self, size: float) -> float:
        """P(|x| > size)."""
        if self.cut == 0:
            return max(0.0, 1 - size / self.bound)
        if math.isinf(self.cut):
            return math.erfc(size / ROOT_2)
        nominal = size * truncated_std(self.cut)
        outside = math.erfc(nominal / ROOT_2) - math.erfc(self.cut / ROOT_2)
        return max(0.0, outside / math.erf(self.cut / ROOT_2))


@cache
def _moment(cut: float, order: int) -> float:
    """E|z|^order of a standard normal z cut at ±cut, by integrating by parts.

    E|z|^k = (k-1) E|z|^(k-2) - 2 c^(k-1) φ(c) / (2Φ(c) - 1).
    """
    if order == 0:
        return 1.0
    inside = math.erf(cut / ROOT_2)
    edge = 2 * math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi) / inside
    if order == 1:
        return 2 / math.sqrt(2 * math.pi) / inside - edge
    at_cut = 0.0 if math.isinf(cut) else cut ** (order - 1) * edge
    return (order - 1) * _moment(cut, order - 2) - at_cut


NORMAL, UNIFORM = Shape(math.inf), Shape(0.0)
NEVER_REACHED = 100.0  # standard deviations: a cut that no sample meets


def shape_of(draw: Draw) -> Shape | None:
    """Return a draw's shape; None for a constant, and for a kind that is not i.i.d. entries."""
    if draw.std == 0:
        return None
    if draw.kind == "uniform":
        return UNIFORM
    if draw.kind == "truncated_normal":
        return Shape(draw.cut) if draw.cut < NEVER_REACHED else NORMAL
    return NORMAL if draw.kind == "normal" else None


# --- natural logarithms of p-values: of a plain p, nothing is left 40 standard errors out ---


def log_normal(z: float) -> float:
    """Log of P(|N(0, 1)| ≥ |z|); far out by its asymptote, φ(z) / z."""
    size = abs(z)
    if size < 30:
        return math.log(math.erfc(size / ROOT_2))
    return -size * size / 2 - math.log(size * math.sqrt(math.pi / 2))


def log_variance(ratio: float, count: float, kurtosis: float, slack: float = 0.0) -> float:
    """Log of the p-value of a variance ``ratio`` times the draw's, two-sided.

    ``slack`` is the relative error that rounding may have added to the variance.
    """
    freedom = 2 * count / (kurtosis + 2)
    spread = 2 / (9 * freedom)
    z = (max(ratio, 0.0) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return log_normal(max(0.0, abs(z) - slack / 3 / math.sqrt(spread)))


def log_mean(mean: float, count: int, slack: float = 0.0) -> float:
    """Log of the p-value of a mean, in units of σ."""
    return log_normal(max(0.0, abs(mean) - slack) * math.sqrt(count))


def log_geary(ratio: float, count: int, shape: Shape) -> float:
    """Log of the p-value of E|x| / σ."""
    if count < FEW:
        return 0.0
    first, third = shape.absolute_moment(1), shape.absolute_moment(3)
    variance = 1 - first**2 + first**2 / 4 * (shape.kurtosis + 2) - first * (third - first)
    return log_normal((ratio - first) * math.sqrt(count / variance))


def log_largest(size: float, count: int, shape: Shape, slack: float = 0.0) -> float:
    """Log of the p-value of the largest |x|, the more surprising side of it, doubled.

    ``slack`` is the relative error that rounding may have added; beyond the bound by more than
    that is impossible.
    """
    below = _log_all_within(size * (1 + slack), count, shape)
    return min(0.0, math.log(2) + min(below, _log_any_beyond(size * (1 - slack), count, shape)))


def _log_all_within(size: float, count: int, shape: Shape) -> float:
    beyond = shape.share_beyond(size)
    return count * math.log1p(-beyond) if beyond < 1 else -math.inf


def _log_any_beyond(size: float, count: int, shape: Shape) -> float:
    """At most count · P(|x| > size); a bound that is reached says nothing, one passed all."""
    if math.isfinite(shape.bound):
        return 0.0 if size <= shape.bound * (1 + ROUNDED) else -math.inf
    return min(0.0, log_normal(size) + math.log(count))
