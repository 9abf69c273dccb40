"""Checks of the signal, each on a model that is known to keep or break it."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import initscope
import synthetic
from initscope.bounds import Bounds
from initscope.config import GPTConfig
from initscope.options import Options
from initscope.verdict import Level, Status
from laws import MODELS, PLAIN, altered, finding, measured, on

BROKEN, KEPT, OPEN = Status.BROKEN, Status.KEPT, Status.INCONCLUSIVE


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
    rate = re.search(r"the residual variance changes ×(\S+) a layer$", half.message)
    assert rate is not None
    assert float(rate[1]) == pytest.approx(4, rel=0.2)
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
        r"attention's entropy is least at layer \d, attn: (0\.0\d+|\d\.\d+e-\d+) of its",
        found.message,
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
    assert np.sqrt(logits) == pytest.approx(1, rel=0.2)


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
