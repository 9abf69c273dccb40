"""Statistics of one whole from those of its parts, each part held by another process.

Parts are rows (n, mean, m2, m3, m4, largest) as in :class:`~initscope.readout.Moments`. What a
process contributes is summed over all of them, twice: counts and means first, then the
deviations from the mean of the whole, which do not cancel. Equal copies of a part change
nothing, so long as every part has as many: what the processes hold alike needs no mark.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]


def totals(rows: Rows) -> Rows:
    """Return (n, n·mean, whether the largest is NaN) a row, to be summed over processes."""
    size, mean, largest = rows[:, 0], rows[:, 1], rows[:, 5]
    return np.stack([size, _weighed(size, mean), np.isnan(largest)], axis=1)


def largest(rows: Rows) -> Rows:
    """Return the largest absolute entry a row, to be maximised over processes."""
    return np.nan_to_num(rows[:, 5], nan=-np.inf, posinf=np.inf)


def deviations(rows: Rows, summed: Rows) -> Rows:
    """Return n times the second, third and fourth moment about the mean of the whole.

    ``summed`` is the sum of :func:`totals`; the result is to be summed as well. The moments
    about another mean are the binomial expansion of E(x - mean + d)^k.
    """
    size, mean, m2, m3, m4 = rows[:, :5].T
    d = np.where(size > 0, mean - _over(summed[:, 1], summed[:, 0]), 0.0)
    about = [
        m2 + d**2,
        m3 + 3 * d * m2 + d**3,
        m4 + 4 * d * m3 + 6 * d**2 * m2 + d**4,
    ]
    return np.stack([_weighed(size, moment) for moment in about], axis=1)


def whole(summed: Rows, deviated: Rows, maximum: Rows) -> Rows:
    """Return the rows of the whole from the three reductions."""
    size, mean = summed[:, 0], _over(summed[:, 1], summed[:, 0])
    higher = _over(deviated, size[:, None])
    top = np.where(summed[:, 2] > 0, np.nan, maximum)
    return np.column_stack([size, mean, higher, top])


def _weighed(size: Rows, value: Rows) -> Rows:
    """Return size · value, and 0 of what is not there, whatever stands in its place."""
    return np.where(size > 0, size * value, 0.0)


def _over(total: Rows, size: Rows) -> Rows:
    return np.divide(total, size, out=np.zeros_like(total), where=size > 0)
