"""What one parameter looks like: the statistics that tell the draws apart."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Statistics over all entries of a parameter; the variance is the population's.

    ``rounding`` is the largest relative rounding error of the dtype it was saved in.
    ``alignment`` is the mean squared cosine between ``pairs`` of rows (of columns, where those
    are fewer) times their length: 1 for independent entries, 0 for an orthogonal matrix.
    ``zero_rows`` were left out: an embedding's row of zeros is padding.
    """

    count: int
    mean: float
    std: float
    mean_abs: float
    low: float
    high: float
    rounding: float = 0.0
    alignment: float = math.nan
    pairs: int = 0
    zero_rows: int = 0

    @property
    def constant(self) -> bool:
        """Whether all entries are equal."""
        return self.low == self.high

    @property
    def finite(self) -> bool:
        """Whether no entry is infinite or NaN."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def max_abs(self) -> float:
        """Largest absolute entry."""
        return max(abs(self.low), abs(self.high))
