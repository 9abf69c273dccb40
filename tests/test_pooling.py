"""Parts pooled as processes pool them are the whole, by NumPy and SciPy on all entries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from initscope.resident import pooling

Array = npt.NDArray[np.float64]


def row(x: Array) -> list[float]:
    """Reduce what one process holds."""
    if not x.size:
        return [0.0] * 6
    d = x - x.mean()
    return [x.size, x.mean(), *(np.mean(d**k) for k in (2, 3, 4)), np.abs(x).max()]


def pooled(parts: list[Array]) -> Array:
    rows = [np.array([row(part)]) for part in parts]
    summed = np.sum([pooling.totals(one) for one in rows], axis=0)
    deviated = np.sum([pooling.deviations(one, summed) for one in rows], axis=0)
    largest = np.max([pooling.largest(one) for one in rows], axis=0)
    return pooling.whole(summed, deviated, largest)[0]


def assert_whole(got: Array, x: Array) -> None:
    size, mean, m2, m3, m4, largest = got
    assert size == x.size
    assert mean == pytest.approx(x.mean(), rel=1e-12)
    assert m2 == pytest.approx(x.var(), rel=1e-11)
    assert m3 == pytest.approx(stats.moment(x, 3), rel=1e-9, abs=1e-9 * x.std() ** 3)
    assert m4 / m2**2 - 3 == pytest.approx(stats.kurtosis(x), rel=1e-9, abs=1e-9)
    assert largest == np.abs(x).max()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cuts", [[500], [1, 2, 400], [0, 999], [333, 333, 666]], ids=str)
def test_parts_of_any_size_are_pooled(seed: int, cuts: list[int]) -> None:
    x = np.random.default_rng(seed).gamma(0.5, size=1000) - 3.0
    assert_whole(pooled(np.split(x, cuts)), x)


def test_a_mean_far_above_the_spread_does_not_cancel() -> None:
    parts = np.split(1e6 + np.random.default_rng(0).normal(size=1000), [10, 400])
    assert pooled(parts)[2] == pytest.approx(np.concatenate(parts).var(), rel=1e-9)


def test_equal_copies_change_nothing() -> None:
    x = np.random.default_rng(0).normal(size=100)
    once = np.split(x, [30])
    np.testing.assert_allclose(pooled(once * 3)[1:], pooled(once)[1:], rtol=1e-12)


def test_parts_in_columns_are_pooled_like_those_in_rows() -> None:
    x = np.random.default_rng(0).normal(size=(8, 12)) * np.arange(12)
    by_rows, by_columns = (pooled(np.split(x, 2, axis=axis)) for axis in (0, 1))
    np.testing.assert_allclose(by_rows, by_columns, rtol=1e-12)


@pytest.mark.parametrize("where", [0, 1])
def test_an_overflow_anywhere_is_one_of_the_whole(where: int) -> None:
    parts = [np.ones(4), np.ones(4)]
    parts[where][0] = np.inf
    with np.errstate(invalid="ignore"):
        assert pooled(parts)[5] == np.inf
    parts[where][0] = np.nan
    got = pooled(parts)
    assert np.isnan(got[5])
    assert np.isnan(got[2])
