"""The verdict: classes of known laws, what is reported, which cause comes first, and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import pytest

import synthetic
from initscope import judge
from initscope.bounds import Bounds
from initscope.checks import CHECKS, Check, get_check, reason
from initscope.errors import UsageError
from initscope.judging import selected
from initscope.profile import Profile
from initscope.reference import bounds_without_check
from initscope.verdict import Class, Level, Status, Verdict
from laws import ILL, finding, judged, measured, outlier, predicted, wrong_std

C = Class
TREND = {"depth-exponent", "gradient-exponent"}
STEEP = TREND | {"exponential-stream", "exponential-gradient"}


def broken(verdict: Verdict) -> set[str]:
    return {found.name for found in verdict.of(Status.BROKEN)}


# --- classes ---


@pytest.mark.parametrize(
    ("name", "forward", "backward", "ill"),
    [
        ("flat", C.GROWS, C.GROWS, TREND),
        ("scaled", C.BOUNDED, C.BOUNDED, set()),
        ("settles", C.BOUNDED, C.BOUNDED, set()),
        ("explodes", C.EXPLODES, C.EXPLODES, STEEP),
        ("vanishes", C.VANISHES, C.VANISHES, STEEP),
        ("post", C.BOUNDED, C.BOUNDED, set()),
        ("sandwich", C.GROWS, C.GROWS, set()),
        ("nanogpt", C.BOUNDED, C.BOUNDED, set()),
        ("zero", C.ZERO, C.ZERO, set()),
        ("overflow", C.EXPLODES, C.UNKNOWN, {"non-finite", "rank-collapse", "attention-entropy"}),
        ("overflow in half precision", C.EXPLODES, C.UNKNOWN, {"non-finite"}),
        ("jump", C.GROWS, C.GROWS, TREND | {"dead-branch"}),
    ],
)
def test_each_class_on_a_known_law(
    name: str, forward: Class, backward: Class, ill: set[str]
) -> None:
    verdict = judged(name)
    assert (verdict.forward, verdict.backward) == (forward, backward)
    assert broken(verdict) == ill
    assert not set(verdict.of(Status.INCONCLUSIVE))
    assert verdict.status is (Status.BROKEN if ill else Status.KEPT)


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("repeated", ("rank collapse",)),
        ("saturated", ("saturated attention",)),
        ("torch", ("hot logits",)),
        ("dead", ("dead branches",)),
        ("sandwich", ("by design of the norm",)),
        ("scaled", ()),
    ],
)
def test_traits(name: str, traits: tuple[str, ...]) -> None:
    assert judged(name).traits == traits


def test_a_single_depth_is_not_classed() -> None:
    verdict = judged("saturated")
    assert (verdict.forward, verdict.backward) == (C.UNKNOWN, C.UNKNOWN)
    assert verdict.headline == (
        "nanogpt+altered, 8 layers: forward not measured, backward not measured, "
        "saturated attention (one seed)"
    )


def test_a_lost_gradient_explodes_and_a_silent_one_vanishes() -> None:
    changed = partial(synthetic.changed, measured("scaled"), direction="backward", n_layer=8)
    lost = changed(float("inf"), layer=0, statistic="second_moment", site="resid_post")
    assert (judge(lost).forward, judge(lost).backward) == (C.BOUNDED, C.EXPLODES)
    silent = changed(0.0, layer=0, statistic="second_moment", site="resid_post")
    assert (judge(silent).forward, judge(silent).backward) == (C.BOUNDED, C.VANISHES)


def test_a_head_of_zeros_silences_the_gradient_by_rule() -> None:
    rows = {"direction": "backward", "statistic": "second_moment"}
    silent = synthetic.changed(measured("scaled"), 0.0, **rows)
    head = {"direction": "weight", "site": "head", "statistic": "max_abs"}
    assert judge(synthetic.changed(silent, 0.0, **head)).backward is C.ZERO


# --- selection ---


@pytest.mark.parametrize(
    ("select", "ignore", "codes"),
    [
        ((), (), list(CHECKS)),
        (("IS001",), (), ["IS001"]),
        (("is002", "depth-exponent"), (), ["IS001", "IS002"]),
        (("IS00",), ("IS001", "headroom"), [f"IS00{n}" for n in (2, 3, 4, 5, 7, 8, 9)]),
        ((), ("IS0",), []),
        (("IS01",), ("IS01",), []),
    ],
)
def test_checks_are_selected(
    select: Sequence[str], ignore: Sequence[str], codes: list[str]
) -> None:
    assert [check.code for check in selected(select, ignore)] == codes
    found = judge(measured("zero"), select=select, ignore=ignore).findings
    assert [one.code for one in found] == codes


@pytest.mark.parametrize("name", ["IS099", "depth-exponnet", "X", ""])
def test_an_unknown_check_is_an_error(name: str) -> None:
    profile = measured("zero")
    for run in (
        partial(judge, profile, select=[name]), partial(judge, profile, ignore=[name]),
        partial(judge, profile, levels={name: Level.WARN}),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=f"unknown check '{name}'"):
            run()
    with pytest.raises(UsageError, match="did you mean 'depth-exponent'"):
        selected(["depth-exponnet"])


def test_the_selection_reports_less_and_sees_as_much() -> None:
    verdict = judge(measured("torch"), ignore=["initial-loss"])
    assert verdict.traits == ("hot logits",)
    assert verdict.reason == ""
    assert verdict.status is Status.KEPT
    assert judge(measured("flat"), select=["non-finite"]).forward is C.GROWS


@pytest.mark.parametrize("name", ["IS001", "is001", "depth-exponent"])
def test_a_level_decides_what_a_broken_check_means(name: str) -> None:
    verdict = judge(measured("flat"), select=["IS001"], levels={name: Level.WARN})
    assert broken(verdict) == {"depth-exponent"}
    assert not verdict.broken
    assert verdict.status is Status.KEPT
    assert verdict.findings[0].level is Level.WARN
    strict = judge(measured("twice scaled"), select=["IS010"], levels={"IS010": Level.ERROR})
    assert strict.broken
    assert not judge(measured("twice scaled"), select=["IS010"]).broken


def test_bounds_are_those_given() -> None:
    assert judge(measured("flat"), Bounds(depth_exponent=2)).forward is C.BOUNDED
    assert judge(measured("scaled"), Bounds(depth_exponent=0)).forward is C.INCONCLUSIVE


# --- what cannot be decided ---


def test_an_interval_across_the_bound_is_inconclusive() -> None:
    verdict = judged("zero, perturbed")
    assert (verdict.forward, verdict.backward) == (C.INCONCLUSIVE, C.INCONCLUSIVE)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.inconclusive
    assert not verdict.broken
    assert verdict.reason == finding(measured("zero, perturbed"), "depth-exponent").message
    warned = judge(measured("zero, perturbed"), levels=dict.fromkeys(TREND, Level.WARN))
    assert warned.status is Status.KEPT


# --- the reason ---


def with_weights_of(ill: Callable[[], Profile], trend: str) -> Profile:
    """Put the weights of one profile under the signal of another, of the same shape."""
    fault, signal = ill().table, measured(trend)
    rows = signal.table["direction"] != "weight"
    table = [signal.table[rows], fault[fault["direction"] == "weight"]]
    return synthetic.with_table(signal, pd.concat(table, ignore_index=True))


@pytest.mark.parametrize(
    ("profile", "first"),
    [
        (partial(measured, "flat"), "depth-exponent"),
        (partial(measured, "explodes"), "exponential-stream"),
        (partial(measured, "overflow"), "non-finite"),
        (partial(measured, "dead"), "dead-branch"),  # an error comes before a warning
        (wrong_std, "parameter-std"),
        (partial(with_weights_of, wrong_std, "jump"), "parameter-std"),
        (partial(with_weights_of, outlier, "jump"), "parameter-outliers"),
    ],
)
def test_the_reason_is_the_cause_and_not_its_effect(
    profile: Callable[[], Profile], first: str
) -> None:
    verdict = judge(profile())
    (cause,) = (found for found in verdict.findings if found.name == first)
    assert verdict.reason == cause.message
    assert verdict.lines == [verdict.headline, f"reason: {verdict.reason}"]


def test_nothing_wrong_needs_no_reason() -> None:
    verdict = judged("nanogpt")
    assert verdict.lines == ["nanogpt, 8 layers: forward bounded, backward bounded (5 seeds)"]
    assert verdict.word == "bounded"
    words = dataclasses.replace(verdict, backward=C.GROWS, seeds=1)
    assert words.word == "bounded / grows"
    assert words.headline.endswith("(one seed)")


# --- every check ---


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_every_check_is_kept_by_one_model_and_broken_by_another(check: Check) -> None:
    well = predicted(measured("nanogpt"))
    kept, ill = (finding(one, check.name) for one in (well, ILL[check.name]()))
    assert (kept.status, ill.status) == (Status.KEPT, Status.BROKEN)
    assert kept.message != ill.message
    assert kept.summary.endswith(".")
    for found in (kept, ill):
        assert not found.message.endswith(".")
        assert "nan" not in found.message


def test_every_check_and_every_bound_has_a_reason() -> None:
    for code, check in CHECKS.items():
        assert check.code == code
        assert bool(check.bound) != bool(check.reason)  # one home for each
        assert len(reason(check)) > 20
        assert get_check(check.name) is get_check(code.lower()) is check
    assert len({check.name for check in CHECKS.values()}) == len(CHECKS)
    assert set(ILL) == {check.name for check in CHECKS.values()}
    for bound in dataclasses.fields(Bounds):
        assert len(Bounds.reason(bound.name)) > 20
    assert not list(bounds_without_check())
