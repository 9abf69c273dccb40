"""Predictions beside closed forms, as profiles, and where theory holds no further."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import initscope
from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.growth import depth_exponent
from initscope.options import Options
from initscope.rules import RULES, config_for, get_rule
from initscope.rules.core import Draw, Rule, Site
from initscope.store import FORMATS
from initscope.theory import coverage, predict, recursion
from initscope.verdict import Class, Status

SHAPE: dict[str, Any] = {"n_layer": 5, "n_embd": 96, "n_head": 3, "vocab_size": 256}

# --- closed forms ---


def linear_stack(gain: float) -> Rule:
    """Draw MLPs whose output has ``gain`` times the mean square of their input; no attention."""

    def draw(site: Site) -> Draw:
        stds = {"wte": 1.0, "mlp_up": (2 / site.fan_in) ** 0.5,
                "mlp_down": (gain / site.fan_in) ** 0.5, "head": 0.01}  # fmt: skip
        return (
            Draw.constant(1.0)
            if site.role == "norm_gain"
            else Draw.normal(stds.get(site.role, 0.0))
        )

    return Rule(name="stack", summary="", source="", draw=draw)


def stacked(n_layer: int, norm: str) -> GPTConfig:
    fields = {"activation": "relu", "positions": "none", "norm_eps": 0.0, "norm_kind": "rmsnorm"}
    return GPTConfig.from_dict({**SHAPE, **fields, "n_layer": n_layer, "norm": norm})


@pytest.mark.parametrize("n_layer", [4, 200, 3000])
def test_a_pre_norm_stream_grows_by_a_constant_and_a_norm_free_one_by_a_factor(
    n_layer: int,
) -> None:
    options = Options(seq_len=16, depth_law=False, forward_only=True)
    pre = predict(stacked(n_layer, "pre"), linear_stack(0.5), options)
    layers = np.arange(n_layer)
    curve = pre.select("resid_post", "forward", "second_moment").to_numpy()[:, 0]
    assert curve == pytest.approx(1 + 0.5 * (layers + 1), rel=2e-3)
    gain = 20 / n_layer
    none = predict(stacked(n_layer, "none"), linear_stack(gain), options)
    curve = none.select("resid_post", "forward", "second_moment").to_numpy()[:, 0]
    assert curve == pytest.approx((1 + gain) ** (layers + 1.0), rel=5e-3)


def test_the_gradient_of_a_norm_free_stream_goes_back_as_the_signal_came() -> None:
    predicted = predict(stacked(8, "none"), linear_stack(0.5), Options(depth_law=False, seq_len=16))
    gradient = predicted.select("resid_post", "backward", "second_moment").to_numpy()[:, 0]
    assert gradient[:-1] / gradient[1:] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("rule", "shape"),
    [("xavier", {}), ("nanogpt", {"norm": "post"}), ("nanogpt", {"norm": "sandwich"}),
     ("olmo-mitchell", {})],
)  # fmt: skip
def test_strides_are_the_blocks_one_by_one(
    rule: str, shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(rule, **{**SHAPE, "n_layer": 400, **shape})
    options = Options(seq_len=16, depth_law=False)
    strides = predict(config, rule, options)
    monkeypatch.setattr(recursion, "EXACT", 10**6)
    single = predict(config, rule, options)
    for direction in ("forward", "backward"):
        ratio = strides.stream(direction) / single.stream(direction)
        assert ratio.to_numpy() == pytest.approx(1, abs=5e-3)


def test_one_loud_layer_is_not_stepped_over() -> None:
    base = get_rule("nanogpt")

    def draw(site: Site) -> Draw:
        loud = (site.role, site.layer) == ("mlp_down", 333)
        return Draw.normal(1.0) if loud else base.draw(site)

    config = GPTConfig(**{**SHAPE, "n_layer": 400})
    rule = dataclasses.replace(base, draw=draw)
    curve = predict(config, rule, Options(seq_len=16, depth_law=False)).stream()
    steps = np.diff(curve.to_numpy()[:, 0])
    assert int(steps.argmax()) == 333
    assert steps[332] < 0.01 * steps[333] > steps[334] * 100


# --- as a profile ---


def test_ten_thousand_blocks_have_a_depth_exponent() -> None:
    for rule, exponent in (("nanogpt", 0.0), ("nanogpt-flat", 1.0)):
        profile = predict(config_for(rule, n_layer=10_000), rule, Options(seq_len=64))
        assert len(profile.stream()) == 10_001
        found = depth_exponent(profile)
        assert found is not None
        assert found.value == pytest.approx(exponent, abs=0.06)
        assert found.reach < 0.1


def test_it_is_judged_as_a_measurement_is() -> None:
    options = Options(seq_len=32)
    shape = {**SHAPE, "n_layer": 24}
    good = initscope.judge(predict(config_for("nanogpt", **shape), "nanogpt", options))
    assert (good.forward, good.backward) == (Class.BOUNDED, Class.BOUNDED)
    assert good.headline.endswith("(theory)")
    flat = initscope.judge(predict(config_for("nanogpt-flat", **shape), "nanogpt-flat", options))
    assert flat.forward is Class.GROWS
    zero = initscope.judge(predict(config_for("rezero", **shape), "rezero", options))
    assert zero.forward is Class.ZERO
    unknown = {f.name for f in good.of(Status.NOT_MEASURED)}
    assert unknown == {"headroom", "parameter-outliers", "as-predicted"}


def test_it_is_saved_and_loaded() -> None:
    predicted = predict(GPTConfig(**SHAPE), "nanogpt", Options(seq_len=16))
    for name in ("json", "parquet"):
        (loaded,) = FORMATS[name].decode(FORMATS[name].encode([predicted]))
        assert loaded.run == predicted.run
        assert loaded.run.predicted
        assert len(loaded.table) == len(predicted.table)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_predicted_or_refused_in_words(rule: str) -> None:
    shape = {name: value for name, value in SHAPE.items() if name != "n_head"}
    config = config_for(rule, **{**shape, "n_layer": 3})
    options = Options(seq_len=16, depth_law=False)
    if beyond_theory(config):
        with pytest.raises(UsageError, match="theory does not cover"):
            predict(config, rule, options)
        return
    profile = predict(config, rule, options)
    # MiniCPM's queries and keys are loud at this width, and the stream ends where they saturate.
    assert bool(profile.run.remark) == (rule == "minicpm")
    assert profile.stream().empty or np.isfinite(profile.stream().to_numpy()).all()


def beyond_theory(config: GPTConfig) -> bool:
    """Whether a model has a part that no formula is about."""
    return config.positions == "alibi"


# --- where it does not hold ---


def test_saturated_attention_is_said() -> None:
    base = get_rule("nanogpt")

    def draw(site: Site) -> Draw:
        return Draw.normal(1.0) if site.role in {"q", "k"} else base.draw(site)

    rule = dataclasses.replace(base, draw=draw)
    profile = predict(GPTConfig(**SHAPE), rule, Options(seq_len=32))
    assert "attention is saturated in layer 0" in profile.run.remark
    assert profile.select("resid_post", "forward", "variance").empty
    assert profile.select("loss", "forward", "loss").empty


def test_a_norm_free_stream_that_explodes_is_said() -> None:
    config = config_for("xavier", **{**SHAPE, "n_layer": 24, "norm": "none"})
    profile = predict(config, "xavier", Options(seq_len=32, depth_law=False))
    assert "without a norm attention sharpens" in profile.run.remark
    covered = profile.select("resid_post", "forward", "variance")
    assert 0 < len(covered) < 24
    assert profile.select("resid_post", "backward", "variance").empty


def test_a_constant_weight_is_refused() -> None:
    def draw(site: Site) -> Draw:
        return Draw.constant(0.1) if site.role == "v" else get_rule("nanogpt").draw(site)

    rule = dataclasses.replace(get_rule("nanogpt"), draw=draw)
    with pytest.raises(UsageError, match="does not cover a rule that sets v to a constant"):
        predict(GPTConfig(**SHAPE), rule)


def test_an_architecture_beyond_the_formulas_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "_KNOWN", coverage._KNOWN - {"qk_norm"})
    with pytest.raises(UsageError, match="theory does not cover qk_norm = True"):
        predict(GPTConfig(**SHAPE, qk_norm=True))
    predict(GPTConfig(**SHAPE), options=Options(seq_len=8, depth_law=False))


def test_positions_that_give_each_head_a_window_are_refused() -> None:
    with pytest.raises(UsageError, match="positions alibi, only learned, rope, sinusoidal, none"):
        predict(GPTConfig(**SHAPE, positions="alibi"))
