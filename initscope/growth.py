"""How a quantity grows: over the layers of one run, and with the depth of the model.

One depth cannot tell a bounded signal from a growing one: nanoGPT's scaled rule and the
unscaled one both rise linearly over the layers of a single run. The *depth exponent*
α = d log v / d log n_layer can: it is 0 for the scaled rule and 1 for the unscaled one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from initscope.profile import Profile

# The spread of an exponent between single seeds is at most about c / sqrt(width). It is largest
# for xavier, whose c is 1.4 forward and 3.8 backward from width 64 to 768; a rule that is bounded,
# or not yet as strong at its width, has less (python -m benchmarks.spread). It counts as
# PRIOR_SEEDS seeds beside those measured: without it, one seed would have no error, and two
# would have a wild one.
SPREAD = {"forward": 1.5, "backward": 4.0}
PRIOR_SEEDS = 4
# Theory's finals err by a few percent, over two doublings of the depth (benchmarks.accuracy).
PREDICTED = 0.02

# Quantiles of Student's t at 97.5 %, by degrees of freedom (Abramowitz & Stegun, table 26.10).
_T975 = {
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    10: 2.228,
    15: 2.131,
    20: 2.086,
}

BRANCHES = ("attn_out", "mlp_down")  # what writes to the stream
SHALLOWEST = 8  # blocks below which a run's shape is not judged

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error over seeds."""

    value: float
    error: float
    seeds: int

    @property
    def reach(self) -> float:
        """Half the 95 % interval (Student's t)."""
        freedom = PRIOR_SEEDS + self.seeds - 1
        return self.error * _T975[max(n for n in _T975 if n <= freedom)]

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.value - self.reach

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.value + self.reach

    def __str__(self) -> str:
        return f"{exponent(self.value)} ± {self.reach:.2f}"


def exponent(value: float) -> str:
    """Write an exponent in two decimals, of which more would be noise.

    >>> exponent(1.0249), exponent(-0.001)
    ('1.02', '0.00')
    """
    return f"{round(value, 2) + 0.0:.2f}"


def estimate(samples: Array, prior_spread: float) -> Estimate:
    """Return the mean of one number a seed, its spread shrunk towards what is known of it."""
    count = len(samples)
    spread = float(samples.std(ddof=1)) if count > 1 else 0.0
    return Estimate(float(samples.mean()), standard_error(spread, count, prior_spread), count)


def standard_error(spread: float, count: int, prior_spread: float) -> float:
    """Return that of a mean over ``count`` seeds, their spread (sample form) shrunk likewise."""
    squares = PRIOR_SEEDS * prior_spread**2 + (count - 1) * spread**2
    return math.sqrt(squares / (PRIOR_SEEDS + count - 1) / count)


def depth_exponent(profile: Profile, direction: str = "forward") -> Estimate | None:
    """Fit α over the profile's depths; None for a single depth or where nothing can be fitted.

    Forward, v is the residual stream's variance after the last block; backward, the mean
    square of the stream's gradient entering the first block over that leaving the last. (After
    the first block it would say nothing: that block's output is the embedding plus a branch
    that itself shrinks with depth in a scaled rule, so the ratio goes as n_layer for all.)
    """
    return fit(profile, direction, final_values(profile, direction))


def fit(profile: Profile, direction: str, values: pd.DataFrame) -> Estimate | None:
    """Fit the exponent to the :func:`final_values` of a profile."""
    if len(values) < 2 or not (np.isfinite(values).all(axis=None) and (values > 0).all(axis=None)):
        return None
    x = np.log(values.index.to_numpy(dtype=float))
    x -= x.mean()
    slopes = x @ np.log(values.to_numpy()) / (x @ x)
    prior = 0.0 if _silent(profile) else SPREAD[direction] / math.sqrt(profile.config.n_embd)
    if profile.run.predicted:  # the mean over seeds, which has theory's error alone
        prior = min(prior, PREDICTED)
    return estimate(slopes, prior)


def _silent(profile: Profile) -> bool:
    """Whether every branch adds exactly 0, so that no draw of a block can move the exponent."""
    ratios = [profile.select(site, "forward", "branch_ratio") for site in BRANCHES]
    return all(rows.size and not rows.any(axis=None) for rows in ratios)


def final_values(profile: Profile, direction: str = "forward") -> pd.DataFrame:
    """Return what the depth exponent is fitted to: a row a depth, a column a seed."""
    rows: dict[int, pd.Series[float]] = {}
    for depth in sorted(int(n) for n in profile.table["n_layer"].unique()):
        last = stream(profile, direction, depth).tail(1)
        if direction == "backward":
            entering = profile.select("resid_pre", "backward", "second_moment", n_layer=depth)
            last = entering.head(1).set_axis(last.index[:1]) / last if len(last) else last
        if not last.empty:
            rows[depth] = last.iloc[0]
    return pd.DataFrame(rows).T


# The exponent is fitted over two doublings of the depth; a power of -1/2 halves over them.
FADED = 0.5


def left(profile: Profile, direction: str, values: pd.DataFrame) -> float:
    """Return what is left of a signal at its end, over what it started from; mean in logs.

    The stream's variance over the embedding's, or the gradient's square entering the first
    block over that leaving the last; ``values`` are the :func:`final_values`.
    """
    ends = values.iloc[-1]
    if direction == "forward":
        ends = ends / profile.stream().iloc[0]
    return float(np.exp(np.log(ends).mean()))


def stream(profile: Profile, direction: str, depth: int | None = None) -> pd.DataFrame:
    """Return the residual stream after each block: its variance, or its gradient's square."""
    statistic = "variance" if direction == "forward" else "second_moment"
    return profile.select("resid_post", direction, statistic, n_layer=depth)


@dataclass(frozen=True)
class Shape:
    """The log growth over the second quarter of a run's layers and over its second half.

    A power of the layer grows as much over either (p ln 2, whatever the depth); an exponential
    twice as much over the half. ``jump`` is the layer, if there is one, that makes up most of
    the second half's growth alone: neither of them.
    """

    early: float
    late: float
    layers: int
    jump: int | None = None

    @property
    def rate(self) -> float:
        """Exponential rate a layer over the second half."""
        return self.late / (self.layers / 2)

    @property
    def exponential(self) -> bool:
        """Whether the rate does not fall, over a growth no power of the layer up to 2 reaches."""
        before = self.early if self.late > 0 else -self.early
        steep = abs(self.late) > 2 * math.log(2)
        return self.jump is None and steep and abs(self.late) > _BETWEEN * before


_BETWEEN = 1.5  # half-way between a power law's 1 and an exponential's 2


def shape(profile: Profile, direction: str = "forward") -> Shape | None:
    """Return a run's shape over its layers, the seeds averaged in logs; None if too shallow."""
    curve = stream(profile, direction).to_numpy()
    layers = len(curve)
    if layers < SHALLOWEST or not ((curve > 0).all() and np.isfinite(curve).all()):
        return None
    log = np.log(curve).mean(axis=1)
    quarter, half = log[layers // 4 - 1], log[layers // 2 - 1]
    late = float(log[-1] - half)
    steps = np.abs(np.diff(log[layers // 2 - 1 :]))
    largest = int(steps.argmax())
    jump = layers // 2 + largest if steps[largest] > abs(late) / 2 else None
    return Shape(float(half - quarter), late, layers, jump)


def branches(profile: Profile) -> dict[str, pd.Series[float]]:
    """Return the mean square of what each branch adds, by layer, averaged over seeds."""
    rows = {site: profile.select(site, "forward", "second_moment") for site in BRANCHES}
    return {s: values.mean(axis=1, skipna=False) for s, values in rows.items() if not values.empty}


class Source(NamedTuple):
    """The branch that adds the most to the stream, and its share of all that is added.

    ``layer`` is set where one layer of it adds more than everything else together.
    """

    site: str
    share: float
    layer: int | None


def source(profile: Profile) -> Source | None:
    """Find what feeds the stream; None where nothing is added, or infinitely much."""
    added = branches(profile)
    total = float(sum(values.sum(skipna=False) for values in added.values()))
    if not 0 < total < math.inf:
        return None
    site = max(added, key=lambda name: float(added[name].sum()))
    values = added[site].sort_values(ascending=False)
    if len(values) >= SHALLOWEST and values.iloc[0] > total / 2:
        return Source(site, float(values.iloc[0]) / total, int(values.index[0]))
    return Source(site, float(values.sum()) / total, None)
