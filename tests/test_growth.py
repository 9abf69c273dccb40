"""Growth: exponents and rates against models whose law is known, and how far to trust them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import initscope
from factory import make_profile
from initscope import growth
from initscope.config import GPTConfig
from initscope.growth import Estimate, depth_exponent, estimate
from initscope.options import Options
from initscope.profile import Profile, concat
from initscope.rules import Rule
from laws import EMBED, GAIN, PLAIN, SHRINK, STACK, each_seed, fits, measured, stack

DIRECTIONS = ("forward", "backward")


def slope(law: Callable[[int], float], *depths: int) -> float:
    """Least-squares exponent of a law over depths."""
    return float(np.polyfit(np.log(depths), np.log([law(n) for n in depths]), 1)[0])


# --- the estimate: its interval is worth its name ---


@pytest.mark.parametrize("seeds", range(1, 41))
def test_quantiles_are_student_s(seeds: int) -> None:
    """Between the tabulated degrees of freedom the smaller one is taken: the interval is wider."""
    exact = stats.t.ppf(0.975, growth.PRIOR_SEEDS + seeds - 1)
    assert exact - 5e-4 < Estimate(0.0, 1.0, seeds).reach < 1.06 * exact
    for freedom, quantile in growth._T975.items():
        assert quantile == pytest.approx(stats.t.ppf(0.975, freedom), abs=5e-4)


def coverage(spread: float, prior: float, seeds: int) -> float:
    """Share of 2000 simulated sets of seeds whose interval holds the truth."""
    sets = np.random.default_rng(seeds).normal(0.7, spread, size=(2000, seeds))
    found = [estimate(samples, prior) for samples in sets]
    return float(np.mean([one.low <= 0.7 <= one.high for one in found]))


@pytest.mark.parametrize("seeds", [1, 2, 4, 8])
def test_the_interval_holds_the_truth(seeds: int) -> None:
    assert coverage(0.3, prior=0.3, seeds=seeds) >= 0.95
    assert coverage(0.3, prior=0.6, seeds=seeds) >= 0.95


def test_seeds_make_up_for_a_spread_that_was_assumed_too_small() -> None:
    few, many = (coverage(0.6, prior=0.3, seeds=seeds) for seeds in (2, 8))
    assert 0.8 < few < 0.9 < many


def test_one_seed_has_an_interval() -> None:
    one = estimate(np.array([0.3]), 0.1)
    assert one == Estimate(0.3, 0.1, 1)
    assert one.reach == pytest.approx(0.2776)
    assert [one.low, one.high] == pytest.approx([0.0224, 0.5776])
    assert str(one) == "0.30 ± 0.28"
    assert str(Estimate(-0.001, 0.1, 1)) == "0.00 ± 0.28"


def test_equal_seeds_are_no_certainty() -> None:
    lucky = estimate(np.array([0.3, 0.3]), 0.1)
    assert lucky.error == pytest.approx(0.1 * math.sqrt(4 / 5) / math.sqrt(2))


# --- the depth exponent ---


def pure_power(power: float, *depths: int, n_embd: int = 64) -> Profile:
    """Build a profile whose stream ends at n_layer^power, its gradient growing by as much."""
    config = GPTConfig(n_layer=depths[-1], n_embd=n_embd, vocab_size=128)
    run, table = make_profile().run, concat([_ending_at(n**power, n) for n in depths])
    return Profile(rule="power", config=config, run=run, table=table)


def _ending_at(value: float, n_layer: int) -> pd.DataFrame:
    table = make_profile(n_layer=n_layer, variance=lambda _: value).table
    entering = table[(table["layer"] == 0) & (table["direction"] == "backward")]
    entering = entering.assign(site="resid_pre", value=entering["value"] * value)
    return concat([table, entering])


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_pure_power_is_found_exactly(power: float, direction: str) -> None:
    found = depth_exponent(pure_power(power, 4, 8, 16), direction)
    assert found is not None
    assert found.value == pytest.approx(power, abs=1e-12)
    prior = growth.SPREAD[direction] / math.sqrt(64)
    assert found.error == pytest.approx(prior * math.sqrt(4 / 5 / 2))


def test_the_interval_is_wider_for_a_narrow_model() -> None:
    narrow, wide = (depth_exponent(pure_power(1, 4, 8, n_embd=n)) for n in (64, 256))
    assert narrow is not None
    assert wide is not None
    assert narrow.reach == pytest.approx(2 * wide.reach)


def exponents(name: str, direction: str) -> list[float]:
    """Fit the exponent to each seed alone."""
    found = each_seed(measured(name), partial(depth_exponent, direction=direction))
    return [one.value for one in found]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_unscaled_pre_norm_grows_in_proportion_to_depth(direction: str) -> None:
    """v_L = embed² + L·gain; the gradient grows by v_{l+1}/v_l in each block: as the stream."""
    law = slope(lambda n: EMBED**2 + n * GAIN, 2, 4, 8)
    assert law == pytest.approx(1, abs=0.02)
    singles = exponents("flat", direction)
    assert fits(singles, law) > 1e-3
    assert fits(singles, 0) < 1e-3  # and five seeds are enough to tell it from the scaled law
    assert np.std(singles, ddof=1) < 2 * growth.SPREAD[direction] / math.sqrt(64)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_pre_norm_scaled_by_depth_is_bounded(direction: str) -> None:
    """v_L = 1 + L·gain/2L, whatever L is."""
    singles = exponents("scaled", direction)
    assert fits(singles, 0) > 1e-3
    assert fits(singles, 1) < 1e-3
    ends = growth.final_values(measured("scaled"), "forward").to_numpy()
    assert ends == pytest.approx(1 + GAIN / 2, rel=0.25)


def test_without_branches_the_exponent_is_certain() -> None:
    for name, law in (("zero", 0.0), ("vanishes", slope(lambda n: SHRINK ** (2 * n), 2, 4, 8))):
        for direction in DIRECTIONS:
            found = depth_exponent(measured(name), direction)
            assert found is not None
            assert found.value == pytest.approx(law, abs=1e-4)
            assert found.reach < 1e-4


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_exponent_where_nothing_can_be_fitted(direction: str) -> None:
    assert depth_exponent(pure_power(1, 8), direction) is None
    for lost in (0.0, math.inf, math.nan):
        profile = pure_power(1, 4, 8)
        table = profile.table
        table.loc[(table["n_layer"] == 4) & (table["seed"] == 1), "value"] = lost
        assert depth_exponent(profile, direction) is None


# --- the exponent and the width ---


def exponent(rule: str | Rule, **fields: Any) -> Estimate:
    options = Options(seeds=2, seq_len=32, device="cpu", forward_only=True)
    profile = initscope.inspect(GPTConfig(**{**PLAIN, **fields}), rule, options)
    found = depth_exponent(profile)
    assert found is not None
    return found


def agree(a: Estimate, b: Estimate) -> bool:
    return abs(a.value - b.value) <= math.hypot(a.reach, b.reach)


def test_the_exponent_does_not_depend_on_the_width() -> None:
    a, b = (exponent("nanogpt-flat", n_embd=width, n_layer=32) for width in (32, 128))
    assert agree(a, b)
    assert min(a.value, b.value) > 0.7
    a, b = (exponent(stack(GAIN, EMBED), **{**STACK, "n_embd": width}) for width in (32, 128))
    assert agree(a, b)


def test_a_fixed_std_grows_no_faster_on_a_narrow_model() -> None:
    """Over few layers the embedding still outweighs narrow blocks; it hides, it never invents."""
    narrow, wide = (exponent("nanogpt-flat", n_embd=width) for width in (32, 128))
    assert narrow.value < wide.value
