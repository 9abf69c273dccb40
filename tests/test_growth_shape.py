"""Growth over the layers of one run: powers, exponentials, jumps, and what feeds the stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from factory import make_profile
from initscope.growth import SHALLOWEST, Shape, shape, source
from laws import GROWTH, SHRINK, each_seed, fits, measured

DIRECTIONS = ("forward", "backward")


def curve(law: Callable[[int], float], layers: int) -> Shape:
    found = shape(make_profile(n_layer=layers, variance=lambda layer: law(max(layer, 0) + 1)))
    assert found is not None
    return found


@pytest.mark.parametrize("layers", [8, 12, 48, 96])
def test_powers_of_the_layer_are_not_exponential(layers: int) -> None:
    for power in (-2.0, -1.0, 0.0, 1.0, 2.0):
        found = curve(partial(pow, exp=power), layers)
        assert not found.exponential
        assert found.late == pytest.approx(power * math.log(2))
    assert not curve(lambda layer: 3 + 0.5 * layer, layers).exponential


@pytest.mark.parametrize("layers", [8, 12, 48, 96])
@pytest.mark.parametrize("total", [-20.0, -3.0, 3.0, 20.0])
def test_exponentials_are_found_with_their_rate(layers: int, total: float) -> None:
    found = curve(lambda layer: math.exp(total * layer / layers), layers)
    assert found.exponential
    assert found.rate == pytest.approx(total / layers)
    assert not curve(lambda layer: math.exp(0.1 * total / layers * layer), layers).exponential


def test_an_exponential_that_sets_in_late_is_found() -> None:
    """The first layers may drift the other way: the rate has not fallen."""
    for base in (math.e, 1 / math.e):
        found = curve(lambda n: base ** (max(0, n - 8) - 0.01 * n), 16)  # noqa: B023
        assert found.early * found.late < 0
        assert found.exponential


def test_one_layer_that_jumps_is_no_exponential() -> None:
    found = curve(lambda layer: 1000.0 if layer > 11 else 1.0, 16)
    assert (found.jump, found.exponential) == (11, False)
    assert found.late == pytest.approx(math.log(1000))
    jump = shape(measured("jump"))
    assert jump is not None
    assert (jump.jump, jump.exponential) == (6, False)


def test_a_shallow_or_lost_curve_has_no_shape() -> None:
    assert shape(make_profile(n_layer=SHALLOWEST - 1)) is None
    assert shape(make_profile(n_layer=SHALLOWEST)) is not None
    for lost in (0.0, math.inf, math.nan):
        table = {**dict.fromkeys(range(-1, 8), 1.0), 5: lost}
        assert shape(make_profile(n_layer=8, variance=table.__getitem__)) is None


@pytest.mark.parametrize(
    ("name", "rate"), [("explodes", math.log(1 + GROWTH)), ("vanishes", 2 * math.log(SHRINK))]
)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_without_a_norm_the_rate_is_the_gain_s(name: str, rate: float, direction: str) -> None:
    """v_{l+1} = v_l (1 + gain), and the gradient as much on its way back."""
    rate *= 1 if direction == "forward" else -1
    found = shape(measured(name), direction)
    assert found is not None
    assert found.exponential
    assert found.rate == pytest.approx(rate, rel=0.1)
    singles = [one.rate for one in each_seed(measured(name), partial(shape, direction=direction))]
    assert np.mean(singles) == pytest.approx(found.rate)
    assert np.std(singles) < 1e-6 or fits(singles, rate) > 1e-3


# --- what feeds the stream ---


def test_the_source_is_the_branch_that_adds_most() -> None:
    flat = source(measured("flat"))
    assert flat is not None
    assert (flat.site, flat.layer) == ("mlp_down", None)
    assert flat.share == pytest.approx(1)
    assert source(measured("zero")) is None
    assert source(measured("overflow")) is None
    plain = source(measured("nanogpt"))
    assert plain is not None
    assert (plain.site, plain.layer) == ("mlp_down", None)
    assert 0.5 < plain.share < 0.9


def test_a_layer_that_adds_more_than_all_others_is_named() -> None:
    loud = source(measured("jump"))
    assert loud is not None
    assert (loud.site, loud.layer) == ("mlp_down", 6)
    assert loud.share > 0.99
