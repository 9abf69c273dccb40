"""Distributions and their p-values: moments against SciPy, and how often a true draw is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from initscope.draws import Drawer, Filling
from initscope.origin.evidence import log_likelihood, weigh
from initscope.origin.groups import cut_of, describe
from initscope.origin.shapes import (
    NORMAL,
    UNIFORM,
    Shape,
    log_largest,
    log_normal,
    log_variance,
    shape_of,
)
from initscope.rules import Draw
from initscope.sampling import sample
from test_draws import reference

DRAWS = [
    Draw.normal(0.02), Draw.truncated_normal(0.02, 2), Draw.truncated_normal(1.0, 3),
    Draw.truncated_normal(0.5, 1), Draw.uniform(0.3),
]  # fmt: skip
ROWS, COLUMNS = 60, 80


def drawn(
    draw: Draw, seed: int, dtype: torch.dtype = torch.float32, scale: int = 1
) -> torch.Tensor:
    x = torch.empty(scale * ROWS, scale * COLUMNS, dtype=dtype)
    Drawer(seed).fill([Filling(x, draw, 0, "w")])
    return x


@pytest.mark.parametrize("draw", DRAWS, ids=str)
def test_moments_are_those_of_scipy(draw: Draw) -> None:
    shape, exact = shape_of(draw), reference(draw)
    assert shape is not None
    for order in range(1, 5):
        moment = exact.expect(lambda x, order=order: abs(x / draw.std) ** order)
        assert shape.absolute_moment(order) == pytest.approx(moment, rel=1e-6)
    assert shape.kurtosis == pytest.approx(float(exact.stats("k")), abs=1e-6)
    assert shape.bound == pytest.approx(draw.bound / draw.std)
    for size in (0.3, 1.0, 1.6):
        beyond = 2 * exact.sf(size * draw.std)
        assert shape.share_beyond(size) == pytest.approx(max(beyond, 0.0), abs=1e-12)


def test_a_normal_cut_nowhere_is_normal_and_one_cut_at_once_uniform() -> None:
    assert Shape(30.0).absolute_moment(4) == pytest.approx(NORMAL.absolute_moment(4))
    assert Shape(0.01).absolute_moment(4) == pytest.approx(UNIFORM.absolute_moment(4), rel=1e-3)
    assert shape_of(Draw.truncated_normal(0.02, 100)) == NORMAL


@pytest.mark.parametrize("cut", [0.5, 1.0, 2.0, 3.0, 5.0])
def test_the_cut_is_read_off_the_bound(cut: float) -> None:
    assert cut_of(Shape(cut).bound) == pytest.approx(cut, rel=1e-6)


@pytest.mark.parametrize("z", [0.0, 1.0, 5.0, 29.9, 30.1, 100.0])
def test_normal_tail(z: float) -> None:
    exact = math.log(2) + stats.norm.logsf(z)
    assert log_normal(z) == pytest.approx(exact, rel=2e-3, abs=1e-9)


@pytest.mark.parametrize("count", [50, 5000])
@pytest.mark.parametrize("far", [-4.0, -3.0, 3.0, 5.0])
def test_variance_is_a_chi_square(count: int, far: float) -> None:
    ratio = 1 + far * math.sqrt(2 / count)
    tail = stats.chi2.logcdf if far < 0 else stats.chi2.logsf
    exact = math.log(2) + tail(ratio * count, count)
    assert log_variance(ratio, count, 0.0) == pytest.approx(exact, rel=0.1)


def test_the_largest_entry_has_its_exact_distribution() -> None:
    count, sizes = 10_000, [3.0, 3.5, 4.0, 6.0]
    for size in sizes:
        within = (1 - 2 * stats.norm.sf(size)) ** count
        exact = min(1.0, 2 * min(within, 1 - within))
        assert math.exp(log_largest(size, count, NORMAL)) == pytest.approx(exact, rel=0.3)
    assert log_largest(2.0, count, UNIFORM) == -math.inf
    assert log_largest(1.7, count, UNIFORM) < -100


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("draw", DRAWS, ids=str)
def test_a_true_draw_is_rarely_surprising(draw: Draw, dtype: torch.dtype) -> None:
    """The smallest of five p-values is below p in at most 5 p of the draws."""
    found = [weigh(sample(drawn(draw, seed, dtype)), draw).log_p for seed in range(60)]
    for p in (0.02, 0.002):
        rate = 5 * p
        allowed = 60 * rate + 4 * math.sqrt(60 * rate) + 1
        assert sum(log_p < math.log(p) for log_p in found) <= allowed


@pytest.mark.parametrize("draw", DRAWS, ids=str)
@pytest.mark.parametrize("other", DRAWS, ids=str)
def test_another_draw_of_the_same_std_is_refused(draw: Draw, other: Draw) -> None:
    same = Draw(other.kind, other.scale / other.std * draw.std, other.cut)
    if (same.kind, same.cut) == (draw.kind, draw.cut):
        return
    found = sample(drawn(draw, 0, scale=5))
    assert weigh(found, same).log_p < math.log(1e-9)
    assert log_likelihood(found, same) < log_likelihood(found, draw)


@pytest.mark.parametrize("draw", DRAWS, ids=str)
def test_likelihood_is_that_of_scipy(draw: Draw) -> None:
    x = drawn(draw, 3)
    exact = reference(draw).logpdf(x.double().numpy() * (1 - 1e-7)).sum()
    assert log_likelihood(sample(x), draw) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_three_percent_are_seen_in_a_hundred_thousand_entries(factor: float) -> None:
    evidence = weigh(sample(drawn(Draw.normal(0.02 * factor), 0, scale=5)), Draw.normal(0.02))
    assert evidence.log_p < math.log(1e-9)
    assert evidence.statistic == "std"


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (Draw.normal(0.02), "normal"), (Draw.uniform(0.3), "uniform"),
        (Draw.truncated_normal(0.02, 2), "truncated ±2.0 σ"),
        (Draw.truncated_normal(0.02, 1), "truncated ±1.0 σ"),
        (Draw.orthogonal(1.0, COLUMNS, ROWS), "orthogonal"),
        (Draw.constant(0.0), "zero"), (Draw.constant(1.0), "constant 1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_shapes_have_names(draw: Draw, name: str, seed: int) -> None:
    layers = [sample(drawn(draw, seed + 10 * layer, scale=5)) for layer in range(3)]
    assert describe(layers) == name


def test_layers_of_different_spread_have_one_shape() -> None:
    assert describe([sample(drawn(Draw.normal(std), 0)) for std in (0.1, 0.01)]) == "normal"


def test_no_shape_has_heavy_tails_or_gaps() -> None:
    generator = np.random.default_rng(0)
    laplace = torch.tensor(generator.laplace(size=(100, 100)))
    signs = torch.tensor(generator.choice([-1.0, 1.0], size=(100, 100)))
    assert describe([sample(laplace)]) == "heavy-tailed"
    assert describe([sample(signs)]) == "no known shape"
    assert describe([sample(torch.zeros(3, 3)), sample(laplace)]) == "mixed"
    assert describe([sample(torch.tensor([math.nan, 1.0]))]) == "not finite"
