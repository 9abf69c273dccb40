"""Checks of the trend and of the signal, each on a model that is known to keep or break it."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

import initscope
import synthetic
from initscope.bounds import Bounds
from initscope.checks import trend
from initscope.config import GPTConfig
from initscope.growth import Estimate
from initscope.options import Options
from initscope.profile import Profile
from initscope.verdict import Level, Status
from laws import MODELS, PLAIN, altered, finding, measured, on

BROKEN, KEPT, OPEN = Status.BROKEN, Status.KEPT, Status.INCONCLUSIVE


def forward_only(profile: Profile) -> Profile:
    table = profile.table[profile.table["direction"].isin(["forward", "weight"])]
    return dataclasses.replace(profile, table=table)


# --- the trend ---


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
    assert trend._against(estimate, 0.5) is status


def test_growth_names_the_numbers_and_their_cause() -> None:
    found = finding(measured("flat"), "depth-exponent")
    assert re.fullmatch(
        r"the final residual variance goes as n_layer\^\(1\.0\d ± 0\.\d\d\): "
        r"0\.9\d+ at 2, 1\.9\d at 4, \d\.\d\d at 8 layers; "
        r"mlp_down adds 100% of what the blocks add, and its std does not shrink with depth",
        found.message,
    )
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
    assert found.message.endswith(
        "; the interval straddles -0.5 and 0.5, so more seeds have to decide"
    )
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


def test_only_growth_is_by_design() -> None:
    cells = {"site": "resid_post", "direction": "forward", "statistic": "variance", "n_layer": 8}
    assert (
        finding(synthetic.changed(measured("sandwich"), 1e-9, **cells), "depth-exponent").status
        is BROKEN
    )


def test_rates_count_in_the_direction_of_travel() -> None:
    for name in ("exponential-stream", "exponential-gradient"):
        up, down = (finding(measured(model), name) for model in ("explodes", "vanishes"))
        assert up.value == pytest.approx(math.log(2), rel=0.1)
        assert down.value == pytest.approx(math.log(0.49), rel=0.01)
        assert re.search(r"×1[4-7]\.\d .*: exponential, ×(1\.9\d|2\.0\d) a layer$", up.message)
        assert re.search(r"×0\.0576 .*: exponential, ×0\.490 a layer$", down.message)
        assert (up.layer, up.site) == (4, "resid_post")


@pytest.mark.parametrize("name", ["gradient-exponent", "exponential-gradient"])
def test_without_gradients_they_are_not_judged(name: str) -> None:
    found = finding(forward_only(measured("flat")), name)
    assert found.status is Status.NOT_MEASURED
    assert found.message.startswith("needs ")


# --- the range ---


def test_overflow_names_the_place_and_the_growth_until_then() -> None:
    deep = finding(measured("overflow"), "non-finite")
    assert re.fullmatch(
        r"the signal is NaN at layer \d+, attn \(its logits overflow\); "
        r"until then the residual variance changes ×\d+\.\d a layer",
        deep.message,
    )
    assert deep.layer is not None
    assert 20 < deep.layer < 48
    half = finding(measured("overflow in half precision"), "non-finite")
    assert half.message.startswith("the signal overflows float16 at layer ")
    assert half.message.endswith("the residual variance changes ×4.31 a layer")
    assert half.value == math.inf


def test_a_lost_gradient_is_no_lost_signal() -> None:
    cells = {"direction": "backward", "layer": 3, "site": "v", "n_layer": 8}
    lost = synthetic.changed(measured("vanishes"), math.nan, **cells)
    found = finding(lost, "non-finite")
    assert found.message.startswith("the gradient is NaN at layer 3, v")


def test_headroom_is_counted_in_bits_of_the_dtype() -> None:
    profile = measured("near the limit")
    forward = profile.table[profile.table["direction"] == "forward"]
    peak = forward[forward["statistic"] == "max_abs"]["value"].max()
    found = finding(profile, "headroom")
    assert found.value == pytest.approx(math.log2(65504 / peak), abs=1e-3)
    assert re.fullmatch(
        r"the largest activation is 2\.\d\d bit below the largest number of float16, "
        r"at (embedding|layer \d), \w+; at least 4 is wanted",
        found.message,
    )
    assert finding(profile, "headroom", Bounds(headroom=1)).status is KEPT
    assert finding(measured("nanogpt"), "headroom").value == pytest.approx(126, abs=3)
    assert finding(measured("overflow"), "headroom").status is Status.NOT_MEASURED


# --- tokens, attention, branches, head ---


def test_repeated_tokens_are_one_direction() -> None:
    found = finding(measured("repeated"), "rank-collapse")
    cosines = measured("repeated").select("resid_post", "forward", "token_cosine").to_numpy()
    assert cosines == pytest.approx(1, abs=1e-5)
    assert found.message.endswith("resid_post: 1.00; at most 0.95 is allowed")


def test_loud_queries_and_keys_saturate_attention() -> None:
    found = finding(measured("saturated"), "attention-entropy")
    assert found.value is not None
    assert found.value < 0.05
    assert re.match(
        r"attention's entropy is least at layer \d, attn: 0\.0\d+ of its", found.message
    )
    sound = finding(measured("nanogpt"), "attention-entropy").value
    assert sound == pytest.approx(1, abs=0.01)


def test_the_head_that_is_named_would_do() -> None:
    found = finding(measured("torch"), "initial-loss")
    match = re.search(r"logits have std (\S+), a head of std (\S+) would give 1$", found.message)
    assert match is not None
    loud = measured("torch").select("logits", "forward", "variance").to_numpy()
    assert float(match[1]) == pytest.approx(math.sqrt(loud[0, 0]), rel=0.01)
    quiet = altered("torch", on("wte", float(match[2])))
    options = Options(seq_len=32, device="cpu", **MODELS["torch"].options)
    profile = initscope.inspect(GPTConfig(**PLAIN), quiet, options)
    logits = profile.select("logits", "forward", "variance").to_numpy()
    assert np.sqrt(logits) == pytest.approx(1, rel=0.15)


def test_a_loss_below_that_of_guessing_has_a_sign() -> None:
    profile = synthetic.changed(measured("nanogpt"), -0.03, statistic="loss_excess")
    assert finding(profile, "initial-loss").message == "the initial loss is ln(vocab) - 0.0300 nat"


def test_a_dead_branch_adds_less_than_bfloat16_keeps() -> None:
    found = finding(measured("dead"), "dead-branch")
    ratio = measured("dead").select("mlp_down", "forward", "branch_ratio").to_numpy()[-1, 0]
    assert found.value == pytest.approx(ratio)
    assert (found.layer, found.site) == (7, "mlp_down")
    assert found.message.endswith("of the stream's rms; at least 0.00391 is wanted")


def test_a_branch_that_is_zero_by_rule_is_not_dead() -> None:
    assert finding(measured("zero"), "dead-branch").status is Status.NOT_MEASURED
    assert finding(measured("zero"), "branch-balance").status is Status.NOT_MEASURED
    assert finding(measured("flat"), "dead-branch").site == "mlp_down"
    assert finding(measured("flat"), "dead-branch").status is KEPT


def test_a_branch_scaled_twice_is_drowned() -> None:
    drowned = finding(measured("twice scaled"), "branch-balance")
    assert drowned.level is Level.WARN
    assert drowned.site == "attn_out"
    assert finding(measured("dead"), "branch-balance").site == "mlp_down"
    assert drowned.value == pytest.approx(_balance("nanogpt") * math.sqrt(2 * 64), rel=0.5)


def _balance(name: str) -> float:
    value = finding(measured(name), "branch-balance").value
    assert value is not None
    return value


def test_zeros_perturbed_show_what_training_would_make_of_them() -> None:
    silent, stirred = (
        measured(name).select("mlp_down", "forward", "branch_ratio").to_numpy()
        for name in ("zero", "zero, perturbed")
    )
    assert (silent == 0).all()
    assert (stirred > 1e-3).all()
    stream = measured("zero, perturbed").stream().to_numpy()
    assert stream[-1] > 1.5 * stream[0]
    assert measured("zero, perturbed").rule == "nanogpt+altered+zeros-perturbed"
