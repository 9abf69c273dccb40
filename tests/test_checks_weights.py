"""Checks of the parameters: every fault is found and named, and no rule raises a false alarm."""

from __future__ import annotations

import math
from functools import partial

import pytest

import initscope
import synthetic
from initscope.bounds import Bounds
from initscope.options import Options
from initscope.profile import Profile
from initscope.rules import RULES, config_for
from initscope.verdict import Status
from laws import PLAIN, each_seed, finding, measured, never_applied, outlier, wrong_std

BROKEN, KEPT = Status.BROKEN, Status.KEPT
WEIGHT = {"direction": "weight", "n_layer": 8}


def drawn(rule: str, seeds: int, dtype: str = "float32") -> Profile:
    """Draw a model with biases and an untied head, so that every parameter there is exists."""
    config = config_for(rule, **{**PLAIN, "n_layer": 2, "n_embd": 32, "bias": True, "tied": False})
    options = Options(seeds=seeds, depth_law=False, forward_only=True, seq_len=2, dtype=dtype)
    return initscope.inspect(config, rule, options)


# --- no false alarm ---


@pytest.mark.parametrize("rule", RULES)
def test_a_registered_rule_raises_no_alarm(rule: str) -> None:
    """PyTorch's default is no fault where the rule itself prescribes it."""
    for name in ("parameter-std", "parameter-outliers", "never-initialised"):
        for one in each_seed(drawn(rule, 3), partial(finding, name=name)):
            assert one.status is KEPT, one.message


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounding_to_half_precision_raises_no_alarm(dtype: str) -> None:
    for name in ("parameter-std", "parameter-outliers", "never-initialised"):
        assert finding(drawn("nanogpt", 1, dtype), name).status is KEPT


@pytest.mark.parametrize("name", ["nanogpt", "flat", "zero", "torch", "overflow"])
def test_scaling_with_depth_raises_no_alarm(name: str) -> None:
    assert finding(measured(name), "scaled-weight-off-stream").status is not BROKEN


# --- a wrong std ---


@pytest.mark.parametrize(("layer", "site"), [(0, "q"), (5, "mlp_down"), (7, "mlp_up")])
def test_a_wrong_std_in_one_layer_is_named(layer: int, site: str) -> None:
    found = finding(wrong_std(layer, site), "parameter-std")
    assert found.status is BROKEN
    assert (found.layer, found.site) == (layer, site)
    assert found.value == pytest.approx(1.0, abs=0.05)  # twice the std: a deviation of 100 %
    want = 0.02 / math.sqrt(16) if site == "mlp_down" else 0.02
    assert f"the rule says {want:#.3g} at layer {layer}, {site}" in found.message
    assert found.message.endswith(f"(off in 1 of 67 parameters: {site})")


def test_the_worst_of_several_is_named() -> None:
    profile = wrong_std(2, "v")
    profile = synthetic.changed(profile, 1.0, layer=6, site="k", statistic="variance", **WEIGHT)
    found = finding(profile, "parameter-std")
    assert (found.layer, found.site) == (6, "k")
    assert found.message.endswith("(off in 2 of 67 parameters: v, k)")


@pytest.mark.parametrize(
    ("site", "layer", "variance", "deviation"),
    [("norm_1", 2, 0.01, math.inf), ("wte", -1, 0.0, 1.0), ("mlp_up", 3, math.nan, math.inf)],
)
def test_what_should_not_vary_must_not_and_what_should_must(
    site: str, layer: int, variance: float, deviation: float
) -> None:
    """A gain that is not constant, an embedding of zeros, a weight that is NaN."""
    cells = {"layer": layer, "site": site, "statistic": "variance"}
    found = finding(
        synthetic.changed(measured("nanogpt"), variance, **cells, **WEIGHT), "parameter-std"
    )
    assert (found.status, found.value) == (BROKEN, deviation)
    assert (found.layer, found.site) == (layer, site)
    where = "embedding, wte" if layer < 0 else f"layer {layer}, {site}"
    assert where in found.message


def test_sampling_is_allowed_for_and_no_more() -> None:
    """A q of 64·64 entries and 5 seeds: five standard errors are 2.5 %, and the bound adds 1 %."""
    for factor, status in ((1.03, KEPT), (1.04, BROKEN)):
        variance = (0.02 * factor) ** 2
        profile = synthetic.changed(
            measured("nanogpt"), variance, layer=1, site="q", statistic="variance", **WEIGHT
        )
        assert finding(profile, "parameter-std").status is status
        assert finding(profile, "parameter-std", Bounds(parameter_std=0.05)).status is KEPT


def test_without_the_rule_s_std_there_is_nothing_to_compare() -> None:
    profile = synthetic.without(measured("nanogpt"), statistic="rule_std")
    assert finding(profile, "parameter-std").status is Status.NOT_MEASURED


# --- outliers ---


def test_an_outlier_is_named() -> None:
    found = finding(outlier(), "parameter-outliers")
    assert (found.status, found.layer, found.site) == (BROKEN, 3, "q")
    expected = math.sqrt(2 * math.log(64 * 64))
    assert found.value == pytest.approx(1000 - expected)
    assert found.message == (
        "the largest entry is 1000 standard deviations at layer 3, q, 996 more than normals reach"
    )


def test_the_largest_of_many_normals_is_no_outlier() -> None:
    profile = synthetic.changed(
        measured("nanogpt"), 8.0, layer=3, site="q", statistic="max_over_std", **WEIGHT
    )
    assert finding(profile, "parameter-outliers").status is KEPT
    strict = finding(profile, "parameter-outliers", Bounds(parameter_outlier=3))
    assert (strict.status, strict.layer, strict.site) == (BROKEN, 3, "q")
    constant = synthetic.without(profile, statistic="max_over_std")
    assert finding(constant, "parameter-outliers").status is Status.NOT_MEASURED


# --- scaled, but in the wrong place ---


def test_scaling_the_up_projection_is_named() -> None:
    """The branch's output is that of the right scheme, and so is everything after it."""
    wrong = measured("up instead of down")
    found = finding(wrong, "scaled-weight-off-stream")
    assert found.status is BROKEN
    assert found.site == "mlp_down"
    assert found.message == (
        "mlp_up is scaled with depth but does not write to the residual stream; "
        "mlp_down does and is not"
    )
    assert finding(wrong, "parameter-std").status is KEPT  # it is drawn as its rule says
    ends = [
        measured(name).select("resid_post", "forward", "variance").iloc[-1].mean()
        for name in ("up instead of down", "nanogpt")
    ]
    assert ends[0] == pytest.approx(ends[1], rel=0.2)


def test_which_weights_shrink_is_said() -> None:
    found = finding(measured("nanogpt"), "scaled-weight-off-stream")
    assert found.message == "the depth-scaled weights are attn_out, mlp_down"
    assert finding(measured("torch"), "scaled-weight-off-stream").message == "needs two depths"


# --- left at PyTorch's default ---


def test_a_rule_that_was_never_applied_is_recognised() -> None:
    found = finding(never_applied(), "never-initialised")
    assert found.status is BROKEN
    assert (found.value, found.layer, found.site) == (48, 0, "q")
    assert found.message == (
        "48 of 48 matrices hold PyTorch's default U(±1/√fan_in): "
        "q, k, v, attn_out, mlp_up, mlp_down"
    )


def test_one_forgotten_matrix_is_enough() -> None:
    cells = {"direction": "weight", "statistic": "rule_std", "layer": 4, "site": "attn_out"}
    found = finding(synthetic.changed(measured("torch"), 0.02, **cells), "never-initialised")
    assert (found.status, found.layer, found.site) == (BROKEN, 4, "attn_out")


def test_the_default_s_std_alone_is_not_the_default() -> None:
    """A normal of that std has entries beyond the uniform's bound."""
    profile = synthetic.changed(never_applied(), 1.0, direction="weight", statistic="max_abs")
    assert finding(profile, "never-initialised").status is KEPT
