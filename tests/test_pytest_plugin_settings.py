"""What the fixture's keywords and markers ask for, and what its verdict means for the test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import samples
from initscope.bounds import Bounds
from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.formats import Named
from initscope.gate import Result
from initscope.profile import Profile, Run, frame
from initscope.pytest_plugin import InitscopeFixture
from initscope.rules import Rule, get_rule
from initscope.settings import CheckSettings
from initscope.verdict import Level

HERE = Path(__file__)


def marker(*args: Any, **settings: Any) -> Any:
    """Stand in for a marker, which is known only where the plugin is installed."""
    return SimpleNamespace(args=args, kwargs=settings)


# --- what a check is asked for ---


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Return what runs a check that measures nothing, and returns what it was to measure."""
    seen: list[CheckSettings] = []

    def measure_nothing(check: CheckSettings, **_options: object) -> Iterator[Result]:
        seen.append(check)
        return iter(())

    monkeypatch.setattr("initscope.gate.run", measure_nothing)

    def ask(rule: Any, *markers: Any, **settings: Any) -> Any:
        fixture = InitscopeFixture(HERE, markers)
        with pytest.raises(pytest.fail.Exception, match="no check ran"):
            fixture.check(rule, **settings)
        return seen.pop()

    yield ask
    assert not seen


def test_the_defaults(asked: Callable[..., Any]) -> None:
    check = asked("nanogpt")
    assert check.rules == ("nanogpt",)
    assert check.depths == (12, 48)
    assert check.shape == {"n_embd": 128}
    assert check.options().seeds == 3
    assert check.bounds == Bounds()


def test_a_rule_may_be_given_in_three_ways(asked: Callable[..., Any]) -> None:
    rule = get_rule("xavier")
    for given in (rule, lambda: rule):
        assert asked(given).rules == (rule,)
    assert asked(lambda: "xavier").rules == ("xavier",)


def test_the_shape_is_held_against_the_rule_that_is_measured(
    asked: Callable[..., Any],
) -> None:
    own = Rule(
        name="own", summary="", source="", draw=get_rule("nanogpt").draw,
        architecture={"positions": "rope"},
    )  # fmt: skip
    ((rule, config),) = asked(own, depths=2, seq_len=64, block_size=32).cases()
    assert (rule, config.positions) == (own, "rope")
    with pytest.raises(UsageError, match="position table"):
        InitscopeFixture(HERE).check("nanogpt", depths=2, seq_len=64, block_size=32)


def test_keywords_are_a_settings_files(asked: Callable[..., Any]) -> None:
    check = asked(
        "nanogpt", depths=range(2, 4), norm="post", seeds=5, device="cpu", ignore=("IS002",),
        levels={"branch-balance": "error"}, bounds={"headroom": 2}, max_seeds=6, precision=0.25,
        allow_inconclusive=True, remedy=False,
    )  # fmt: skip
    assert check.depths == (2, 3)
    assert check.shape == {"n_embd": 128, "norm": "post"}
    assert (check.options().seeds, check.options().device) == (5, "cpu")
    assert check.ignore == ("IS002",)
    assert check.levels == {"IS010": Level.ERROR}
    assert check.bounds == Bounds(headroom=2.0)
    assert (check.max_seeds, check.precision, check.allow_inconclusive) == (6, 0.25, True)


def test_a_preset_says_the_whole_shape(asked: Callable[..., Any]) -> None:
    assert asked("nanogpt", preset="gpt2-xl").config("nanogpt", 48).n_embd == 1600
    assert asked("nanogpt", preset="gpt2-xl").depths == (48,)
    assert asked("nanogpt", preset="gpt2-xl", depths=4, n_embd=64).depths == (4,)


def test_bounds_are_amended_one_by_one(asked: Callable[..., Any]) -> None:
    marked = marker(bounds={"headroom": 1, "loss_excess": 2})
    bounds = asked("nanogpt", marked, bounds={"headroom": 3}).bounds
    assert bounds == Bounds(headroom=3.0, loss_excess=2.0)
    assert asked("nanogpt", marked, bounds=Bounds(headroom=5)).bounds == Bounds(headroom=5)


def test_a_file_of_tokens_lies_beside_the_test(asked: Callable[..., Any]) -> None:
    assert asked("nanogpt", tokens="corpus.txt").options().tokens == str(HERE.parent / "corpus.txt")


@pytest.mark.parametrize("wanted", [True, False])
def test_a_remedy_is_looked_for_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, *, wanted: bool
) -> None:
    seen = []

    def measure_nothing(_check: CheckSettings, *, remedy: bool) -> Iterator[Result]:
        seen.append(remedy)
        return iter(())

    monkeypatch.setattr("initscope.gate.run", measure_nothing)
    with pytest.raises(pytest.fail.Exception):
        InitscopeFixture(HERE).check("nanogpt", **({} if wanted else {"remedy": False}))
    assert seen == [wanted]


# --- what cannot be right ---


@pytest.mark.parametrize(
    ("rule", "settings", "said"),
    [
        ("nanogtp", {}, "initscope: check: unknown rule 'nanogtp': did you mean 'nanogpt'?"),
        ("nanogpt", {"n_layer": 3}, "no keyword 'n_layer': write depths=(12, 48)"),
        ("nanogpt", {"depths": 0}, "check.n_layer: must be a whole number of at least 1, not 0"),
        ("nanogpt", {"depths": ()}, "check.n_layer: must not be an empty list"),
        ("nanogpt", {"bounds": {"headrom": 1}}, "check.bounds.headrom': did you mean 'headroom'?"),
        ("nanogpt", {"select": ["IS999"]}, "unknown check 'IS999'"),
        ("nanogpt", {"seeds": 0}, "check.seeds: must be a whole number of at least 1, not 0"),
        (3, {}, "a function without arguments that returns a Rule, not int; models of one's own"),
        (torch.nn.Linear, {}, "not Linear; models of one's own cannot be measured yet"),
        (torch.nn.Linear(1, 1), {}, "not Linear; models of one's own cannot be measured yet"),
        (lambda: torch.nn.Linear(1, 1), {}, "not Linear; models of one's own cannot be"),
    ],
)
def test_it_is_refused_in_a_sentence(rule: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        InitscopeFixture(HERE).check(rule, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("marked", "said"),
    [
        (marker(64), "the marker takes keywords alone, not 64"),
        (marker(rule="xavier"), "the rule is the first argument of check"),
        (marker(seed=1), "unknown key 'check.seed': did you mean 'seeds'?"),
    ],
)
def test_a_marker_is_refused_in_a_sentence(marked: Any, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        InitscopeFixture(HERE, [marked]).check("nanogpt")


# --- what a verdict means ---


def results(named: Named, **settings: Any) -> Callable[..., Iterator[Result]]:
    """Return what takes the place of measuring: a check that found what is given."""
    config = GPTConfig(n_layer=1, n_embd=8)
    run = Run(
        source="", device="", dtype="", tokens="", batch=1, seq_len=1, seeds=(0,)
    )  # fmt: skip
    profile = Profile(rule="own", config=config, run=run, table=frame("own", 1, 0, []))
    check = CheckSettings(name="own", **settings)
    return lambda _check, **_options: iter([Result("own", profile, named.verdict, check)])


@pytest.mark.parametrize("named", [samples.KEPT, samples.WARNED], ids=["kept", "warned"])
def test_what_passes(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("initscope.gate.run", results(named))
    assert InitscopeFixture(HERE).check("nanogpt") == [named.verdict]


@pytest.mark.parametrize(
    ("named", "word"),
    [
        (samples.BROKEN, "BROKEN"), (samples.INCONCLUSIVE, "INCONCLUSIVE"),
        (samples.UNMEASURED, "no check ran"),
    ],
)  # fmt: skip
def test_what_fails(named: Named, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("initscope.gate.run", results(named))
    with pytest.raises(pytest.fail.Exception, match=word) as caught:
        InitscopeFixture(HERE).check("nanogpt")
    assert not caught.value.pytrace


def test_what_could_not_be_decided_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = results(samples.INCONCLUSIVE, allow_inconclusive=True)
    monkeypatch.setattr("initscope.gate.run", allowed)
    InitscopeFixture(HERE).check("nanogpt")
