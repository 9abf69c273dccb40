"""The gate: every rule at every depth is measured, judged and counted into one exit code."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest

import samples
from initscope import remedy
from initscope.bounds import Bounds
from initscope.errors import ExitCode, UsageError
from initscope.formats import Named
from initscope.gate import Result, exit_code, judge_by, review, run
from initscope.profile import Profile
from initscope.settings import CheckSettings
from initscope.verdict import Level, Status
from laws import PLAIN, measured

SHAPE = {name: value for name, value in PLAIN.items() if name != "n_layer"}
QUICK: dict[str, Any] = {"seeds": 2, "seq_len": 8, "device": "cpu", "forward_only": True}


def settings(**fields: Any) -> CheckSettings:
    given = {"name": "ci", "depths": (4, 8), "shape": SHAPE, "measurement": QUICK, **fields}
    return CheckSettings(**given)


@cache
def kept_and_broken() -> list[Result]:
    """Check nanoGPT's two rules at two depths, by the exponent alone."""
    rules = ("nanogpt", "nanogpt-flat")
    check = settings(rules=rules, select=("IS001", "non-finite"), precision=1.0)
    return list(run(check, remedy=False))


# --- what is measured ---


def test_every_rule_is_judged_at_every_depth() -> None:
    results = kept_and_broken()
    assert [result.name for result in results] == [
        "ci: nanogpt, 4 layers", "ci: nanogpt, 8 layers",
        "ci: nanogpt-flat, 4 layers", "ci: nanogpt-flat, 8 layers",
    ]  # fmt: skip
    assert [result.verdict.status for result in results] == [Status.KEPT] * 2 + [Status.BROKEN] * 2
    for result in results:
        assert result.profile.rule == result.verdict.rule
        assert result.profile.config.n_layer == result.verdict.n_layer
        assert {one.code for one in result.verdict.findings} == {"IS001", "IS005"}
        assert result.named.title == result.name
        assert result.named.verdict is result.verdict


def test_seeds_are_added_up_to_the_most() -> None:
    check = settings(rules=("nanogpt",), depths=(4,), precision=0.0, max_seeds=3)
    (result,) = run(check)
    assert result.verdict.seeds == 3


def test_measuring_starts_when_a_result_is_asked_for() -> None:
    results = run(settings(rules=("no-such-rule",)))
    with pytest.raises(UsageError, match="unknown rule 'no-such-rule'"):
        next(results)


def test_progress_is_reported() -> None:
    seen: list[str] = []
    check = settings(rules=("nanogpt",), depths=(2,), precision=10.0)
    list(run(check, report=lambda what, *_: seen.append(what)))
    assert set(seen) == {"nanogpt, forward"}


# --- the remedy ---


def test_what_is_broken_gets_a_remedy_unless_it_is_declined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = settings(rules=("nanogpt", "nanogpt-flat"), depths=(8,), precision=1.0)
    sound, ill = run(check)
    assert sound.verdict.remedy == ""
    assert ill.verdict.remedy.startswith("std of attn_out 0.0200 → 0.00500, mlp_down")
    monkeypatch.setattr(remedy, "with_remedy", lambda *_, **__: pytest.fail("tried"))
    assert [result.verdict.remedy for result in run(check, remedy=False)] == ["", ""]


def test_the_remedy_keeps_the_check_s_own_bounds() -> None:
    """Where next to no growth is allowed, dividing by √(2·n_layer) does not help enough."""
    strict = settings(
        rules=("xavier",), depths=(4,), bounds=Bounds(depth_exponent=0.05), max_seeds=2,
        select=("IS001",),
    )  # fmt: skip
    (result,) = run(strict)
    assert result.verdict.broken
    assert result.verdict.remedy == ""


# --- what is judged without measuring ---


def test_a_saved_profile_is_judged_as_if_measured() -> None:
    for result in kept_and_broken():
        again = review(result.profile, "run.json", result.check)
        assert again.verdict == result.verdict
        assert again.name == f"run.json: {result.name.removeprefix('ci: ')}"


def test_a_check_s_choices_reach_the_judge() -> None:
    profile = measured("flat")
    check = settings(bounds=Bounds(depth_exponent=2), ignore=("gradient-exponent", "IS01"))
    verdict = judge_by(check)(profile)
    assert not verdict.broken
    assert {one.code for one in verdict.findings} == {f"IS00{n}" for n in (1, 3, 4, 5, 6, 7, 8, 9)}
    mild = judge_by(settings(levels={"IS001": Level.WARN, "IS002": Level.WARN}))(profile)
    assert not mild.broken
    assert [one.code for one in mild.of(Status.BROKEN)] == ["IS001", "IS002"]


# --- the exit code ---


def result(named: Named, **fields: Any) -> Result:
    profile: Profile = measured("zero")
    return Result(named.name, profile, named.verdict, settings(**fields))


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([samples.KEPT], ExitCode.OK),
        ([samples.WARNED], ExitCode.OK),
        ([samples.BROKEN], ExitCode.OUT_OF_BOUNDS),
        ([samples.INCONCLUSIVE], ExitCode.OUT_OF_BOUNDS),
        ([samples.KEPT, samples.BROKEN], ExitCode.OUT_OF_BOUNDS),
        ([samples.KEPT, samples.UNMEASURED], ExitCode.OK),
        ([samples.UNMEASURED], ExitCode.MEASUREMENT),
        ([samples.UNMEASURED, samples.UNMEASURED], ExitCode.MEASUREMENT),
        ([], ExitCode.MEASUREMENT),
    ],
)
def test_one_exit_code_for_all(results: list[Named], code: ExitCode) -> None:
    assert exit_code([result(named) for named in results]) is code


def test_what_is_inconclusive_may_pass_and_what_is_broken_not() -> None:
    open_ = result(samples.INCONCLUSIVE, allow_inconclusive=True)
    assert exit_code([open_]) is ExitCode.OK
    assert exit_code([open_, result(samples.INCONCLUSIVE)]) is ExitCode.OUT_OF_BOUNDS
    assert exit_code([result(samples.BROKEN, allow_inconclusive=True)]) is ExitCode.OUT_OF_BOUNDS


def test_real_measurements_have_their_exit_codes() -> None:
    results = kept_and_broken()
    assert exit_code(results[:2]) is ExitCode.OK
    assert exit_code(results) is ExitCode.OUT_OF_BOUNDS
    nothing = settings(rules=("nanogpt",), depths=(2,), select=("gradient-exponent",))
    assert exit_code(list(run(nothing))) is ExitCode.MEASUREMENT  # forward only: none was measured


def test_findings_of_a_baseline_count() -> None:
    sound = result(samples.KEPT)
    more = sound.with_findings([samples.finding("B1", Status.BROKEN, value=math.nan)])
    assert [one.code for one in more.verdict.findings] == ["G1", "B1"]
    assert exit_code([sound]) is ExitCode.OK
    assert exit_code([more]) is ExitCode.OUT_OF_BOUNDS
    assert more.profile is sound.profile
