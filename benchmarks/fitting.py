"""A power law through measured points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Exponent(NamedTuple):
    """The slope of ln y over ln x by least squares, and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


class Line(NamedTuple):
    """y = start + step · x."""

    start: float
    step: float

    def at(self, x: float) -> float:
        """Return the line's value."""
        return self.start + self.step * x


def exponent(x: Sequence[float], y: Sequence[float]) -> Exponent:
    """Fit y ∝ x^p; the error is that of the slope, from the points' scatter (n - 2 freedoms)."""
    a, b = np.log(x), np.log(y)
    spread = float(((a - a.mean()) ** 2).sum())
    slope = float(((a - a.mean()) * (b - b.mean())).sum()) / spread
    rest = b - b.mean() - slope * (a - a.mean())
    freedoms = len(a) - 2
    error = float(np.sqrt((rest**2).sum() / freedoms / spread)) if freedoms > 0 else float("nan")
    return Exponent(slope, error)


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """Fit a line by least squares of the relative errors: the smallest points count as much."""
    weights = 1 / np.asarray(y)
    step, start = np.polyfit(x, y, 1, w=weights)
    return Line(float(start), float(step))
