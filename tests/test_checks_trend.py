"""Checks of the trend, each on a model whose law is known."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

import synthetic
from initscope.bounds import Bounds
from initscope.checks import trend
from initscope.growth import Estimate
from initscope.profile import Profile
from initscope.verdict import Status
from laws import finding, measured

BROKEN, KEPT, OPEN = Status.BROKEN, Status.KEPT, Status.INCONCLUSIVE


def forward_only(profile: Profile) -> Profile:
    table = profile.table[profile.table["direction"].isin(["forward", "weight"])]
    return dataclasses.replace(profile, table=table)


@pytest.mark.parametrize(
    ("value", "reach", "status"),
    [
        (0.0, 0.4, KEPT), (0.5, 0.0, KEPT), (-0.5, 0.0, KEPT), (0.9, 0.3, BROKEN),
        (-0.9, 0.3, BROKEN), (0.5, 0.1, OPEN), (-0.6, 0.2, OPEN), (0.0, 0.6, OPEN),
    ],
)  # fmt: skip
def test_the_whole_interval_decides(value: float, reach: float, status: Status) -> None:
    estimate = Estimate(value, reach / 2.776, 1)
    assert estimate.reach == pytest.approx(reach)
    assert trend._against(estimate, -0.5, 0.5) is status


def test_growth_names_the_numbers_and_their_cause() -> None:
    found = finding(measured("flat"), "depth-exponent")
    said = re.fullmatch(
        r"the final residual variance goes as n_layer\^\(\d\.\d\d ± 0\.\d\d\): "
        r"(\d\.\d+) at 2, (\d\.\d+) at 4, (\d\.\d\d) at 8 layers; "
        r"mlp_down adds 100% of what the blocks add, and its std does not shrink with depth",
        found.message,
    )
    assert said is not None
    assert [float(number) for number in said.groups()] == pytest.approx([1, 2, 4], rel=0.2)
    assert (found.site, found.layer, found.bound) == ("mlp_down", None, 0.5)
    assert found.value == pytest.approx(1.0, abs=0.2)
    assert found.error is not None
    assert f"{found.value:.2f} ± {found.error:.2f}" in found.message


def test_growth_of_one_layer_names_the_layer() -> None:
    found = finding(measured("jump"), "depth-exponent")
    assert found.message.endswith("mlp_down adds 100% of what the blocks add, in layer 6 alone")
    assert (found.layer, found.site) == (6, "mlp_down")
    stream = finding(measured("jump"), "exponential-stream")
    assert stream.status is KEPT
    assert stream.message.endswith("over the second half of the layers, mostly in layer 6 alone")


def test_a_source_that_shrinks_with_depth_is_not_blamed_for_it() -> None:
    """A rule may scale too little: it grows although the std falls."""
    changed = synthetic.changed(
        measured("flat"), 1e-6, direction="weight", site="mlp_down", statistic="variance", n_layer=8
    )
    message = finding(changed, "depth-exponent").message
    assert message.endswith("mlp_down adds 100% of what the blocks add")


def test_what_cannot_be_decided_says_what_would() -> None:
    found = finding(measured("up instead of down"), "gradient-exponent")
    assert found.status is OPEN
    assert found.message.endswith("; the interval straddles 0.5, so more seeds have to decide")
    wide = Bounds(gradient_exponent=3)
    assert finding(measured("up instead of down"), "gradient-exponent", wide).status is KEPT


def test_a_sandwich_grows_by_design() -> None:
    """The one sublayer of a block adds a variance of 1, whatever its weights: embed² + L."""
    profile = measured("sandwich")
    for name in ("depth-exponent", "gradient-exponent"):
        found = finding(profile, name)
        assert found.status is KEPT
        assert found.value == pytest.approx(1.0, abs=0.25)
        assert "by design" in found.message
    last = profile.select("resid_post", "forward", "variance").to_numpy()[-1]
    assert last == pytest.approx(8, rel=0.4)


def test_a_norm_on_the_output_alone_grows_by_design_too() -> None:
    profile = measured("sandwich")
    config = dataclasses.replace(profile.config, norm="output")
    found = finding(dataclasses.replace(profile, config=config), "depth-exponent")
    assert found.status is KEPT
    assert "by design" in found.message


def test_only_growth_is_by_design() -> None:
    cells = {"site": "resid_post", "direction": "forward", "statistic": "variance", "n_layer": 8}
    assert (
        finding(synthetic.changed(measured("sandwich"), 1e-9, **cells), "depth-exponent").status
        is BROKEN
    )


def test_what_falls_towards_its_start_does_not_vanish() -> None:
    """v_L = embed² + 8·gain/L, as where branches are divided by n_layer: it settles at embed²."""
    stream, gradient = (
        finding(measured("settles"), name) for name in ("depth-exponent", "gradient-exponent")
    )
    assert stream.value == pytest.approx(-1, abs=0.1)
    assert (stream.status, gradient.status) == (KEPT, KEPT)
    assert re.search(r"; at \d\d\.\d × what it started from it does not fade$", stream.message)
    faded = synthetic.changed(
        measured("settles"), 10.0, direction="forward", site="embed", statistic="variance"
    )
    assert finding(faded, "depth-exponent").status is BROKEN


def test_rates_count_in_the_direction_of_travel() -> None:
    for name in ("exponential-stream", "exponential-gradient"):
        up, down = (finding(measured(model), name) for model in ("explodes", "vanishes"))
        assert up.value == pytest.approx(math.log(2), rel=0.1)
        assert down.value == pytest.approx(math.log(0.49), rel=0.01)
        assert re.search(r"×1\d\.\d .*: exponential, ×(1\.9\d|2\.0\d) a layer$", up.message)
        assert re.search(r"×0\.0576 .*: exponential, ×0\.490 a layer$", down.message)
        assert (up.layer, up.site) == (4, "resid_post")


@pytest.mark.parametrize("name", ["gradient-exponent", "exponential-gradient"])
def test_without_gradients_they_are_not_judged(name: str) -> None:
    found = finding(forward_only(measured("flat")), name)
    assert found.status is Status.NOT_MEASURED
    assert found.message.startswith("needs ")
