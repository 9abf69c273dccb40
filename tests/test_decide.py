"""Deciding: seeds are added while something is open, one at a time, and no longer."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import pytest

from initscope import decide as deciding
from initscope import judge
from initscope.config import GPTConfig
from initscope.decide import decide
from initscope.growth import depth_exponent
from initscope.options import Options
from initscope.profile import Profile
from initscope.sweep import inspect
from initscope.verdict import Class, Status, Verdict
from laws import EMBED, GAIN, STACK, judged, stack
from samples import finding, verdict

CONFIG = GPTConfig(**{**STACK, "n_embd": 32, "n_layer": 4})
RULE = stack(GAIN, EMBED)
QUICK: dict[str, Any] = {"seq_len": 8, "device": "cpu", "forward_only": True}


class Counted:
    """Measures for real, and counts how many seeds each measurement added."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seeds: list[int] = []
        for name in ("inspect", "extend"):
            monkeypatch.setattr(deciding, name, partial(self.run, getattr(deciding, name)))

    def run(self, measure: Any, *args: Any, **kwargs: Any) -> Profile:
        profile = measure(*args, **kwargs)
        self.seeds.append(len(profile.run.seeds))
        return profile


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


KEPT = Status.KEPT


def open_until(seeds: int, profile: Profile) -> Verdict:
    """Give a verdict that is open until there are so many seeds."""
    taken = len(profile.run.seeds)
    return verdict(finding("X", KEPT if taken >= seeds else Status.INCONCLUSIVE), seeds=taken)


@pytest.mark.parametrize(
    ("start", "closed_at", "taken"),
    [(1, 1, [1]), (1, 3, [1, 2, 3]), (3, 1, [3]), (2, 9, [2, 3, 4, 5])],
)
def test_seeds_are_added_while_the_verdict_is_open(
    start: int, closed_at: int, taken: list[int], counted: Counted
) -> None:
    found = decide(
        CONFIG, RULE, Options(seeds=start, **QUICK), partial(open_until, closed_at),
        max_seeds=5, precision=10,
    )  # fmt: skip
    assert counted.seeds == taken
    assert found.verdict.seeds == len(found.profile.run.seeds) == taken[-1]
    assert found.verdict.inconclusive == (closed_at > 5)


@pytest.mark.parametrize(("precision", "taken"), [(10.0, [1]), (0.0, [1, 2, 3, 4])])
def test_seeds_are_added_while_an_exponent_is_wide(
    precision: float, taken: list[int], counted: Counted
) -> None:
    decide(
        CONFIG, RULE, Options(seeds=1, **QUICK), partial(open_until, 1),
        max_seeds=4, precision=precision,
    )  # fmt: skip
    assert counted.seeds == taken


def test_the_interval_is_as_narrow_as_asked_for(counted: Counted) -> None:
    found = decide(CONFIG, RULE, Options(**QUICK), judge, precision=0.4)
    estimate = depth_exponent(found.profile)
    assert estimate is not None
    assert estimate.reach <= 0.4
    assert found.verdict.forward is Class.GROWS
    assert counted.seeds == list(range(1, estimate.seeds + 1))
    assert estimate.seeds > 1


def test_where_no_exponent_is_measured_none_is_waited_for(counted: Counted) -> None:
    decide(CONFIG, RULE, Options(depth_law=False, **QUICK), judge, precision=0)
    assert counted.seeds == [1]


def test_without_branches_one_seed_decides(counted: Counted) -> None:
    decide(CONFIG, stack(0, EMBED), Options(**QUICK), judge, precision=0.01)
    assert counted.seeds == [1]


def test_more_seeds_than_the_most_are_measured_if_asked_for(counted: Counted) -> None:
    found = decide(CONFIG, RULE, Options(seeds=2, **QUICK), judge, max_seeds=1, precision=0)
    assert counted.seeds == [2]
    assert found.verdict.seeds == 2


def test_seeds_that_were_added_are_those_measured_at_once() -> None:
    found = decide(
        CONFIG, RULE, Options(seeds=1, **QUICK), partial(open_until, 3), precision=10
    ).profile
    at_once = inspect(CONFIG, RULE, Options(seeds=3, **QUICK))
    assert found.run == at_once.run
    for n_layer in (1, 2, 4):
        for site in ("embed", "resid_post", "mlp_act"):
            a, b = (
                p.select(site, "forward", "variance", n_layer=n_layer) for p in (found, at_once)
            )
            assert a.equals(b)


def test_what_is_broken_beyond_doubt_needs_no_more_seeds(counted: Counted) -> None:
    assert not judged("explodes").inconclusive
    options = Options(seeds=3, **{**QUICK, "depth_law": False})
    rule, shape = stack(1e20, EMBED), dataclasses.replace(CONFIG, norm="none")
    assert decide(shape, rule, options, judge).verdict.forward is Class.EXPLODES
    assert counted.seeds == [3]
