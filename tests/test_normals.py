"""Normals: what is exact about their table and mix, and what samples of them show."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from scipy import stats

from initscope import normals

COUNT = 1 << 20


def drawn(seed: int, count: int = COUNT, std: float = 1.0) -> torch.Tensor:
    return normals.fill(torch.empty(count), std, seed)


def test_levels_are_the_means_between_neighbouring_quantiles() -> None:
    levels = normals.levels().numpy()
    edges = stats.norm.ppf([0.75, 0.75 + 1 / normals.LEVELS, 1 - 1 / normals.LEVELS])
    inside, beyond = (
        stats.norm.expect(lambda x: x, lb=low, ub=high, conditional=True)
        for low, high in ((edges[0], edges[1]), (edges[2], np.inf))
    )
    assert levels[3 * normals.LEVELS // 4] == pytest.approx(inside, rel=1e-6)
    assert levels[-1] == pytest.approx(beyond, rel=1e-5)
    assert (np.diff(levels) > 0).all()


def test_moments_of_a_pick_and_of_a_mix() -> None:
    levels = normals.levels()
    assert levels.mean().item() == pytest.approx(0, abs=1e-15)
    assert levels.square().mean().item() == pytest.approx(1, rel=1e-13)
    excess = levels.pow(4).mean().item() - 3
    assert excess == pytest.approx(-1.7e-4, abs=1e-5)
    assert levels.max().item() == pytest.approx(4.39, abs=0.01)
    half = normals.hadamard().double() / 2
    assert torch.equal(half @ half.T, torch.eye(normals.MIX, dtype=torch.float64))
    # Cumulants add: that of a mix is Σ h⁴ times a pick's, and of two mixes Σ h²h'² times.
    fourth = half.pow(4).sum(1)
    assert (fourth * excess).tolist() == pytest.approx([-4.2e-5] * normals.MIX, abs=2e-6)
    together = half.square() @ half.square().T
    assert together.max().item() * abs(excess) / 2 < 4.2e-5


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_normal_up_to_their_far_tails(seed: int) -> None:
    x = drawn(seed).double().numpy()
    assert stats.kstest(x, "norm").pvalue > 1e-4
    for beyond in (2.0, 3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(beyond) * COUNT
        assert abs((np.abs(x) > beyond).sum() - expected) < 5 * math.sqrt(expected) + 1
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0), (6, 15.0)):
        spread = stats.norm.moment(2 * power) - moment**2
        assert abs((x**power).mean() - moment) < 5 * math.sqrt(spread / COUNT)


def test_each_column_of_the_table_has_each_level_once() -> None:
    every = torch.arange(normals.LEVELS)
    for column in normals.net().T:
        assert torch.equal(column.sort().values, every)


def test_rows_fill_four_dimensions_evenly() -> None:
    """Every joint moment up to the fourth is a normal's to 1e-3: of random rows, to some 1e-2."""
    columns = normals.rows().T
    correlation = torch.corrcoef(columns) - torch.eye(normals.ROW)
    assert correlation.abs().max().item() < 1.4e-5
    assert (torch.corrcoef(columns.square()) - torch.eye(normals.ROW)).abs().max() < 4e-4
    normal = {0: 1, 1: 0, 2: 1, 3: 0, 4: 3}
    for order in (2, 3, 4):
        for chosen in combinations_with_replacement(range(normals.ROW), order):
            expected = math.prod(normal[chosen.count(c)] for c in range(normals.ROW))
            found = columns[list(chosen)].prod(0).mean().item()
            assert found == pytest.approx(expected, abs=1e-3), chosen


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("count", [4096, normals.BLOCK])
def test_what_comes_of_the_same_picks_is_independent(power: int, count: int) -> None:
    mixes = torch.stack([drawn(seed, count) for seed in range(64)])
    mixes = mixes.view(64, normals.MIX, -1, normals.ROW).double().pow(power)
    same = mixes.permute(1, 3, 0, 2).flatten(0, 1).flatten(1)  # (16, n): columns share picks
    found = torch.corrcoef(same) - torch.eye(len(same))
    assert found.abs().max().item() < 5 / math.sqrt(same.shape[1])


def test_neighbours_and_seeds_are_independent() -> None:
    x = drawn(0)
    for other in (drawn(1), *(x.roll(lag) for lag in (1, 2, 4, COUNT // 4, normals.BLOCK))):
        for power in (1, 2):
            pair = torch.stack([x.pow(power), other.pow(power)])
            assert abs(torch.corrcoef(pair)[0, 1].item()) < 5 / math.sqrt(COUNT)


def test_a_tensor_of_any_length_is_filled() -> None:
    for count in (1, 2, 3, 5, 17, 4096, normals.BLOCK + 3):
        x = normals.fill(torch.full((count,), math.nan), 0.5, 7)
        assert x.isfinite().all()
        assert len(x.unique()) > 0.99 * count  # float32 has no more different ones


def test_the_std_is_a_factor() -> None:
    torch.testing.assert_close(drawn(3, std=0.02), drawn(3) * 0.02, rtol=1e-6, atol=1e-7)


def test_numbers_are_those_of_every_machine() -> None:
    """The bits are SFC64's own, whose stream NumPy keeps (NEP 19)."""
    bits = np.random.SFC64(5).random_raw(1)
    assert (
        bits.tolist()
        == np.random.Generator(np.random.SFC64(5)).integers(0, 1 << 64, 1, np.uint64).tolist()
    )
    picks = normals.rows()[torch.from_numpy(bits.view(np.uint16).astype(np.int64))]
    expected = normals.hadamard()[0].double() @ picks / 2
    torch.testing.assert_close(drawn(5, 4).double(), expected, rtol=1e-6, atol=1e-7)
