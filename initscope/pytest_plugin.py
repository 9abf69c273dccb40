"""The pytest plugin: ``def test_init(initscope): initscope.check(MY_RULE, depths=(12, 48))``.

pytest loads this file in every run of every project beside which initscope is installed, so at
its top it imports pytest alone; the rest, torch above all, loads when a test checks something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from initscope.rules import Rule
    from initscope.settings import CheckSettings
    from initscope.verdict import Verdict

DEPTHS = (12, 48)
WIDTH = 128  # the growth laws do not depend on it

# Keys of a settings file that say nothing here, and what does instead.
_ELSEWHERE = {
    "rule": "the rule is the first argument of check",
    "n_layer": "write depths=(12, 48)",
    "name": "the test has one",
}


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, to ``--markers`` and ``--strict-markers``."""
    config.addinivalue_line(
        "markers",
        "initscope(**settings): defaults for the fixture initscope, such as depths, n_embd, seeds "
        "and bounds; what the test itself passes to check comes first",
    )


@pytest.fixture(name="initscope")
def _initscope(request: pytest.FixtureRequest) -> InitscopeFixture:
    """Check an initialisation rule: initscope.check(rule, depths=(12, 48), n_embd=128)."""
    nearest_first = list(request.node.iter_markers("initscope"))
    return InitscopeFixture(request.path, nearest_first[::-1])


class InitscopeFixture:
    """What the fixture ``initscope`` hands to a test.

    Args:
        path: the test's file; a file of tokens is looked for beside it.
        markers: defaults for :meth:`check`; each amends those before it.
    """

    def __init__(self, path: Path, markers: Sequence[pytest.Mark] = ()) -> None:
        self._path, self._markers = path, markers

    def check(self, rule: str | Rule | Callable[[], Rule], **settings: Any) -> list[Verdict]:  # noqa: ANN401 - of any type
        """Measure a rule at each depth, and fail the test unless its signal stays in bounds.

        The rule is measured on the built-in GPT, on as many seeds as the verdict takes. A module
        of one's own cannot be measured yet: that comes with the engine for models held whole.

        Args:
            rule: a rule's name, a Rule, or a function without arguments that returns a Rule.
            **settings: what ``[tool.initscope.check]`` may say, here over the markers' and the
                defaults ``depths=(12, 48), n_embd=128, seeds=3``: the shape (``n_embd``,
                ``norm``, ``preset``, ...), the measurement (``seeds``, ``seq_len``, ``device``,
                ...), ``bounds={"depth_exponent": 0.3}``, ``select``, ``ignore``, ``levels``,
                ``max_seeds``, ``precision`` and ``allow_inconclusive``; besides ``depths``, one
                or several, and ``remedy=False`` to look for none when the check fails.

        Returns:
            The verdicts, one a depth.

        Raises:
            pytest.fail.Exception: with the report, if anything is out of bounds or, unless
                allowed, could not be decided.
            UsageError: for a keyword or value that cannot be right.
            MeasurementError: when measuring failed.
        """
        __tracebackhide__ = True
        from initscope.errors import InitscopeError

        try:
            verdicts, passed = self._measure(rule, settings)
        except InitscopeError as error:
            # The sentence is for the line of the test; the way it took in here helps nobody.
            raise error.with_traceback(None) from None
        if not passed:
            from initscope.formats import render

            pytest.fail(render(verdicts, "text"), pytrace=False)
        return verdicts

    def _measure(self, given: object, settings: dict[str, Any]) -> tuple[list[Verdict], bool]:
        """Return the verdict at each depth, and whether all of it passes."""
        from initscope.errors import ExitCode
        from initscope.gate import exit_code, run

        settings = _amended(*map(_keywords, self._markers), settings)
        remedy = settings.pop("remedy", True)
        results = list(run(_check(_rule(given), self._path, settings), remedy=remedy))
        return [result.verdict for result in results], exit_code(results) is ExitCode.OK


def _keywords(marker: pytest.Mark) -> Mapping[str, Any]:
    """Return what a marker says.

    Raises:
        UsageError: for what it says without a keyword.
    """
    from initscope.errors import UsageError

    if marker.args:
        raise UsageError(f"initscope: the marker takes keywords alone, not {marker.args[0]!r}")
    return marker.kwargs


def _amended(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings over settings; tables, as ``bounds``, are amended key by key."""
    merged: dict[str, Any] = {}
    for key, given in (item for layer in layers for item in layer.items()):
        old, value = merged.get(key), _plain(given)
        if isinstance(old, dict) and isinstance(value, dict):
            value = {**old, **value}
        merged[key] = value
    return merged


def _plain(value: Any) -> Any:  # noqa: ANN401 - a setting of any type
    """Return a setting as a file would hold it: tuples as lists, ``Bounds`` as a table."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, tuple | range | set | frozenset) else value


def _rule(given: Any) -> str | Rule:  # noqa: ANN401 - whatever the test passed
    """Return the rule to measure; it is called only if it cannot be a module.

    Raises:
        UsageError: for anything else, such as a model.
    """
    from initscope.errors import UsageError
    from initscope.rules import Rule

    rule = given() if callable(given) and not hasattr(given, "forward") else given
    if isinstance(rule, str | Rule):
        return rule
    kind = rule if isinstance(rule, type) else type(rule)
    raise UsageError(
        "initscope: check takes a rule's name, a Rule, or a function without arguments that "
        f"returns a Rule, not {kind.__name__}; models of one's own cannot be measured yet"
    )


def _check(rule: str | Rule, path: Path, settings: dict[str, Any]) -> CheckSettings:
    """Read the keywords as a settings file's table is read, every name and value checked.

    Raises:
        UsageError: naming the keyword and what would be right.
    """
    from initscope.errors import UsageError
    from initscope.settings import DEFAULT
    from initscope.settings.source import Place, Source
    from initscope.settings.tables import read_checks

    for name, hint in _ELSEWHERE.items():
        if name in settings:
            raise UsageError(f"initscope: check has no keyword {name!r}: {hint}")
    if "depths" in settings:
        settings["n_layer"] = settings.pop("depths")
    default = DEFAULT.replace(rules=(rule,), depths=DEPTHS, shape={"n_embd": WIDTH})
    source = Source(path, Place("initscope"), {"check": settings})
    return read_checks(source, default, None)[0]
