"""initscope check."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from initscope.cli.groups import Measurement, Shape, starting_with
from initscope.cli.output import progress
from initscope.cli.signature import with_options
from initscope.errors import ExitCode, UsageError, unknown
from initscope.files import STDOUT, check_writable, deliver
from initscope.formats import FORMATS, render
from initscope.rules import RULES
from initscope.settings import CheckSettings, load_settings
from initscope.store import load
from initscope.verdict import Level

if TYPE_CHECKING:
    from initscope.gate import Result

_GATE: dict[str, Any] = {"rich_help_panel": "Gate"}
_OUT: dict[str, Any] = {"rich_help_panel": "Output"}


@dataclass
class Gate:
    """What breaks the gate."""

    rule: Annotated[
        list[str] | None,
        Option(help="Rule to check [nanogpt]; may be repeated.", **_GATE,
               autocompletion=starting_with(RULES)),
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
        """Return what was given, as changes to a check's settings."""
        return {
            "rules": self.rule, "select": self.select, "ignore": self.ignore,
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
        for name, target in pairs:
            if name not in FORMATS:
                raise unknown("format", name, FORMATS)
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


def check(
    shape: Shape,
    measurement: Measurement,
    gate: Gate,
    reports: Reports,
    files: Annotated[
        list[str] | None,
        Argument(metavar="[FILE]...", help="Profiles saved with --json or --parquet, instead."),
    ] = None,
) -> None:
    """Judge one or more rules, or saved profiles, and exit 1 if anything is out of bounds.

    initscope check --rule nanogpt --n-layer 48 --n-embd 128

    The growth laws do not depend on the width, so a narrow model at the true depth will do.
    """
    from initscope.gate import exit_code

    checks = _settings(gate, shape, measurement)
    targets = reports.targets()
    if gate.save_baseline is not None:
        check_writable(gate.save_baseline)
    results = list(_saved(files, checks) if files else _measured(checks, gate))
    results = _baseline(results, gate)
    _report(results, targets)
    code = exit_code(results)
    if code is not ExitCode.OUT_OF_BOUNDS or not gate.exit_zero:
        raise SystemExit(code)


def _settings(gate: Gate, shape: Shape, measurement: Measurement) -> list[CheckSettings]:
    from initscope.judging import selected

    settings = load_settings(Path(gate.config) if gate.config else None)
    fields = shape.chosen()
    depth = fields.pop("n_layer", None)
    flags = {**gate.flags(), "depths": [depth] if depth is not None else None}
    changed = [
        one.replace(shape=fields or None, measurement=measurement.chosen() or None, **flags)
        for one in settings.checks
    ]
    for one in changed:
        list(one.cases())  # every name and shape is known before the first measurement
        selected(one.select, one.ignore)
        one.options()
    return changed


def _measured(checks: Sequence[CheckSettings], gate: Gate) -> Iterator[Result]:
    from initscope.gate import run

    with progress() as report:
        for one in checks:
            yield from run(one, remedy=gate.remedy, report=report)


def _saved(files: Sequence[str], checks: Sequence[CheckSettings]) -> Iterator[Result]:
    """Judge saved profiles, without torch."""
    from initscope.gate import review

    return (
        review(profile, file, one) for file in files for profile in load(file) for one in checks
    )


def _baseline(results: list[Result], gate: Gate) -> list[Result]:
    """Hold the results against a saved baseline, or save them as one."""
    if gate.save_baseline is None and gate.baseline is None:
        return results
    from initscope import baseline

    if gate.save_baseline is not None:
        summary = baseline.summarise({result.name: result.profile for result in results})
        deliver(gate.save_baseline, baseline.dumps(summary))
    if gate.baseline is None:
        return results
    entries = baseline.load(gate.baseline)["checks"]
    return [
        result.with_findings(
            baseline.compare(result.profile, entries.get(result.name), gate.tolerance)
        )
        for result in results
    ]


def _report(results: Sequence[Result], targets: Sequence[tuple[str, str]]) -> None:
    """Write every format asked for; under GitHub Actions, annotations and summary besides."""
    named = [result.named for result in results]
    for name, target in targets:
        deliver(target, render(named, name))
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    if "github" not in dict(targets):
        sys.stdout.write(render(named, "github"))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:  # other steps write to it too
            file.write(render(named, "markdown"))


command = with_options(check)
