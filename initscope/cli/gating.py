"""The options of initscope check: what breaks the gate, and where the verdict goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from typer import Option

from initscope.cli.groups import starting_with
from initscope.cli.naming import complete_rule
from initscope.errors import UsageError, unknown
from initscope.files import STDOUT, check_writable
from initscope.formats import FORMATS
from initscope.verdict import Level

_GATE: dict[str, Any] = {"rich_help_panel": "Gate"}
_OUT: dict[str, Any] = {"rich_help_panel": "Output"}


@dataclass
class Gate:
    """What breaks the gate."""

    rule: Annotated[
        list[str] | None,
        Option(help="Rule to check [nanogpt]; may be repeated.", **_GATE,
               autocompletion=complete_rule),
    ] = None  # fmt: skip
    config: Annotated[
        str | None,
        Option(metavar="FILE", help="Settings [initscope.toml, pyproject.toml].", **_GATE),
    ] = None
    bound: Annotated[
        list[str] | None, Option(metavar="NAME=NUMBER", help="Another threshold.", **_GATE)
    ] = None
    select: Annotated[
        list[str] | None, Option(metavar="CODE", help="Checks to run [all].", **_GATE)
    ] = None
    ignore: Annotated[
        list[str] | None, Option(metavar="CODE", help="Checks to leave out.", **_GATE)
    ] = None
    level: Annotated[
        list[str] | None,
        Option(metavar="CODE=error|warn", help="What a broken check means.", **_GATE),
    ] = None
    precision: Annotated[
        float | None,
        Option(min=0, help="Widest half-interval of an exponent; more seeds until then.", **_GATE),
    ] = None
    max_seeds: Annotated[int | None, Option(min=1, help="Most seeds taken [8].", **_GATE)] = None
    allow_inconclusive: Annotated[
        bool | None,
        Option("--allow-inconclusive", help="What could not be decided passes.", **_GATE),
    ] = None
    remedy: Annotated[
        bool, Option("--remedy/--no-remedy", help="Try changes, and name one that helps.", **_GATE)
    ] = True
    exit_zero: Annotated[
        bool, Option("--exit-zero", help="Exit 0 though checks are broken.", **_GATE)
    ] = False
    baseline: Annotated[
        str | None, Option(metavar="FILE", help="Compare with a saved baseline.", **_GATE)
    ] = None
    save_baseline: Annotated[
        str | None, Option(metavar="FILE", help="Save what was measured as one.", **_GATE)
    ] = None
    tolerance: Annotated[
        float, Option(min=0, help="Relative change from the baseline that passes.", **_GATE)
    ] = 0.1

    def flags(self) -> dict[str, Any]:
        """Return what was given, but for the rules, as changes to a check's settings."""
        return {
            "select": self.select, "ignore": self.ignore,
            "bounds": _numbers(self.bound), "levels": _levels(self.level),
            "precision": self.precision, "max_seeds": self.max_seeds,
            "allow_inconclusive": self.allow_inconclusive,
        }  # fmt: skip


@dataclass
class Reports:
    """Where the verdict goes."""

    format: Annotated[
        str,
        Option(metavar="|".join(FORMATS), help="Format on stdout.", **_OUT,
               autocompletion=starting_with(FORMATS)),
    ] = "text"  # fmt: skip
    output: Annotated[
        list[str] | None,
        Option(metavar="FORMAT=FILE", help="Write a format to a file; may be repeated.", **_OUT),
    ] = None

    def targets(self) -> list[tuple[str, str]]:
        """Return (format, destination), checked before anything is measured.

        Raises:
            UsageError: for a format that does not exist, or a place that cannot be written.
        """
        pairs = [(self.format, STDOUT), *(_pair(text, "--output") for text in self.output or [])]
        places = [target for _, target in pairs]
        for name, target in pairs:
            if name not in FORMATS:
                raise unknown("format", name, FORMATS)
            if places.count(target) > 1:
                said = "stdout has --format already" if target == STDOUT else "two formats want it"
                raise UsageError(f"--output {name}={target}: {said}; give it its own file")
            check_writable(target)
        return pairs


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{flag} {text!r} is not of the form NAME=VALUE")
    return name.strip(), value.strip()


def _numbers(texts: Sequence[str] | None) -> dict[str, float] | None:
    pairs = [_pair(text, "--bound") for text in texts or []]
    try:
        return {name: float(value) for name, value in pairs} or None
    except ValueError as error:
        raise UsageError(f"--bound takes a number: {error}") from None


def _levels(texts: Sequence[str] | None) -> dict[str, Any] | None:
    from initscope.checks import get_check

    found = {}
    for name, value in (_pair(text, "--level") for text in texts or []):
        if value not in set(Level):
            raise unknown("level", value, [level.value for level in Level])
        found[get_check(name).code] = Level(value)
    return found or None
