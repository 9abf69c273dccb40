"""What is said of a step of training: checks, classes, warnings and errors."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import initscope
import synthetic
from initscope.bounds import Bounds
from initscope.checks import CHECKS, EVERY, TRAINING, get_check
from initscope.errors import ExitCode, OutOfBoundsError
from initscope.judging import judge, selected
from initscope.profile import Profile
from initscope.verdict import Class, Finding, Level, Status, Verdict
from users_gpt import users_gpt
from watched import batches, quiet, train


def step(number: int, **fields: Any) -> Profile:
    """Return a synthetic profile as if it came from a step of training."""
    profile = synthetic.profile("own", n_layer=8, **fields)
    return dataclasses.replace(profile, run=dataclasses.replace(profile.run, step=number))


FIRST = step(0)


def find(name: str, profile: Profile, **how: Any) -> Finding:
    verdict = judge(profile, since=FIRST, **how)
    return next(finding for finding in verdict.findings if finding.name == name)


# --- the checks ---


def times(factor: float, **cells: object) -> Profile:
    """Return a later step with some of its readings multiplied."""
    profile = step(100)
    rows = synthetic._rows(profile.table, cells)
    value = float(profile.table.loc[rows, "value"].iloc[0]) * factor
    return synthetic.changed(profile, value, **cells)


STREAM = {"layer": 7, "site": "resid_post", "direction": "forward", "statistic": "variance"}
NORM = {"site": "model", "statistic": "grad_norm"}
COSINE = {"layer": 7, "site": "resid_post", "statistic": "token_cosine"}  # 8/9 there
LOSS = {"site": "loss", "statistic": "loss_excess"}


@pytest.mark.parametrize(
    ("name", "cells", "factor", "bound"),
    [
        ("stream-growth", STREAM, 3e6, "stream_growth"),
        ("gradient-growth", NORM, 150.0, "gradient_growth"),
        ("loss-above-guessing", LOSS, 20.0, "loss_excess"),
        ("token-collapse", COSINE, 9 / 8, "collapsed_cosine"),
    ],
)
def test_a_check_is_broken_beyond_its_bound_alone(
    name: str, cells: dict[str, Any], factor: float, bound: str
) -> None:
    kept, ill = find(name, step(100)), find(name, times(factor, **cells))
    assert (kept.status, ill.status) == (Status.KEPT, Status.BROKEN)
    assert ill.value is not None
    assert kept.value is not None
    assert ill.value == pytest.approx(kept.value * factor)
    wide = find(name, times(factor, **cells), bounds=Bounds(**{bound: ill.value * 1.01}))
    assert wide.status is Status.KEPT
    assert ill.message.startswith(kept.message.split(" is ")[0])
    assert "nan" not in kept.message + ill.message


def test_silent_units_are_dead() -> None:
    def relu(bias: float) -> Finding:
        model = users_gpt(bias=True)
        layers: Any = model.transformer["h"]
        for layer in layers:
            layer.mlp.gelu = nn.ReLU()
            nn.init.constant_(layer.mlp.c_fc.bias, bias)
        (ids,) = batches(1)
        with initscope.watch(model, on_verdict=None) as w:
            model(ids[:, :-1], ids[:, 1:])[1].backward()
        assert w.verdict is not None
        return next(finding for finding in w.verdict.findings if finding.name == "dead-units")

    alive, dead = relu(0.0), relu(-10.0)
    assert (alive.status, dead.status) == (Status.KEPT, Status.BROKEN)
    assert alive.value == pytest.approx(0.5, abs=0.1)
    assert dead.value == 1.0
    assert dead.level is Level.WARN


def test_what_is_not_there_is_not_judged() -> None:
    alone = judge(step(100))
    silent = {f.name: f.message for f in alone.findings if f.status is Status.NOT_MEASURED}
    assert {"stream-growth", "gradient-growth", "exponential-stream"} <= silent.keys()
    assert "earlier profile" in silent["stream-growth"]
    assert alone.forward is alone.backward is Class.UNKNOWN


def test_how_the_signal_goes_over_layers_is_told_of_the_first_step_alone() -> None:
    for number, status in ((0, Status.BROKEN), (100, Status.NOT_MEASURED)):
        profile = step(number, growth=3.0)
        found = find("exponential-stream", profile)
        assert (found.status, found.level) == (status, Level.WARN)
    at_first = judge(step(0, growth=3.0))
    assert (at_first.forward, at_first.backward) == (Class.EXPLODES, Class.EXPLODES)
    assert not at_first.broken


@pytest.mark.parametrize(
    ("profile", "forward", "backward"),
    [
        (step(100), Class.BOUNDED, Class.BOUNDED),
        (times(3e6, **STREAM), Class.EXPLODES, Class.BOUNDED),
        (times(150.0, **NORM), Class.BOUNDED, Class.EXPLODES),
        (step(100, overflow=(5, "mlp_act")), Class.EXPLODES, Class.UNKNOWN),
    ],
)
def test_the_class_is_that_beside_the_first_profile(
    profile: Profile, forward: Class, backward: Class
) -> None:
    verdict = judge(profile, since=FIRST)
    assert (verdict.forward, verdict.backward) == (forward, backward)
    assert verdict.step == 100
    assert verdict.headline.endswith("(step 100)")
    assert bool(verdict.reason) == verdict.broken == (profile is not None and forward != backward)


def test_checks_of_training_are_named_selected_and_explained_like_others() -> None:
    verdict = judge(step(3), since=FIRST)
    assert [finding.code for finding in verdict.findings] == list(TRAINING)
    assert [c.code for c in selected(["IS10"], ["dead-units"], training=True)] == [
        "IS101", "IS102", "IS103", "IS105",
    ]  # fmt: skip
    assert list(EVERY) == sorted(EVERY)
    assert len({check.name for check in EVERY.values()}) == len(EVERY)
    for check in EVERY.values():
        assert get_check(check.name) is get_check(check.code) is check
    assert not {check.code for check in TRAINING.values()} - EVERY.keys()
    assert [f.code for f in judge(synthetic.profile()).findings] == list(CHECKS)


# --- what becomes of it ---


def broken_from(number: int) -> tuple[nn.Module, Callable[[int], None]]:
    """Return a model, and what breaks its weights after a step."""
    model = users_gpt()

    def after(at: int) -> None:
        if at == number - 1:
            with torch.no_grad():
                model.lm_head.weight.mul_(1e4)

    return model, after


def test_what_is_newly_broken_is_warned_of_once() -> None:
    model, after = broken_from(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(model, 5, initscope.watch(model, every=1), after=after)
    (text,) = {str(one.message) for one in caught if "explodes" in str(one.message)}
    assert text.startswith("own, 3 layers: ")
    assert "(step 2)" in text
    assert "× that of step 0" in text


def test_a_verdict_is_raised_after_the_profile_is_kept_and_no_hook_stays() -> None:
    model, after = broken_from(2)
    w, done = initscope.watch(model, every=1, on_verdict="raise"), list[int]()
    with pytest.raises(OutOfBoundsError, match=r"\(step 2\); reason: ") as error:
        train(model, 9, w, after=lambda at: (done.append(at), after(at)))  # type: ignore[func-returns-value]
    assert error.value.exit_code is ExitCode.OUT_OF_BOUNDS
    assert done == [0, 1, 2]  # the next forward pass reads out
    assert w.verdict is not None
    assert w.verdict.broken
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_function_is_called_with_each_verdict() -> None:
    told: list[Verdict] = []
    model = users_gpt()
    train(model, 3, initscope.watch(model, every=2, on_verdict=told.append))
    assert [verdict.step for verdict in told] == [0, 2]


def test_checks_are_ignored_and_bounds_moved() -> None:
    loose = Bounds(stream_growth=1e30, loss_excess=1e30, gradient_growth=1e30, branch_share=0)
    for how in ({"ignore": ["IS10", "dead-branch"]}, {"bounds": loose}):
        model, after = broken_from(1)
        train(model, 3, quiet(model, on_verdict="raise", **how), after=after)
