"""initscope check."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from initscope.cli.architecture import tell_architecture
from initscope.cli.gating import Gate, Reports
from initscope.cli.groups import Measurement, Shape
from initscope.cli.output import announce, progress, say
from initscope.cli.own import Own, tell
from initscope.cli.signature import with_options
from initscope.errors import ExitCode, UsageError
from initscope.files import check_writable, deliver
from initscope.formats import render
from initscope.store import load

if TYPE_CHECKING:
    from initscope.gate import Result
    from initscope.settings import CheckSettings


def check(
    shape: Shape,
    measurement: Measurement,
    gate: Gate,
    reports: Reports,
    own: Own,
    files: Annotated[
        list[str] | None,
        Argument(metavar="[FILE]...", help="Profiles saved with --json or --parquet, instead."),
    ] = None,
) -> None:
    """Judge one or more rules, your model, or saved profiles; exit 1 if anything is out of bounds.

    initscope check --rule nanogpt --n-layer 48 --n-embd 128

    The growth laws hardly depend on a width from 128 on: a narrow model at the true depth will do.
    """
    from initscope.gate import exit_code

    if files:
        _refuse_measurement(gate, shape, measurement, own)
    checks = _settings(gate, shape, measurement, own)
    targets = reports.targets()
    known = _known(gate)
    if own.chosen():
        results = list(_measured_own(checks, own, gate, shape))
    else:
        results = list(_saved(files, checks) if files else _measured(checks, gate))
    results = _baseline(results, gate, known)
    _report(results, targets)
    code = exit_code(results)
    if code is not ExitCode.OUT_OF_BOUNDS or not gate.exit_zero:
        raise SystemExit(code)


def _refuse_measurement(gate: Gate, shape: Shape, measurement: Measurement, own: Own) -> None:
    """Refuse what would go unheeded: a saved profile is not measured again."""
    rule = ["rule"] if gate.rule else []
    given = [*shape.chosen(), *measurement.chosen(), *rule, *own.given()]
    if given:
        flag = given[0].replace("_", "-")
        raise UsageError(f"--{flag} belongs to a measurement, but saved profiles were given")


def _known(gate: Gate) -> dict[str, Any] | None:
    """Load the baseline, and see that one can be saved, before anything is measured."""
    if gate.save_baseline is not None:
        check_writable(gate.save_baseline)
    if gate.baseline is None:
        return None
    from initscope.baseline import load as load_baseline

    return dict(load_baseline(gate.baseline)["checks"])


def _settings(gate: Gate, shape: Shape, measurement: Measurement, own: Own) -> list[CheckSettings]:
    from initscope.judging import selected
    from initscope.rules import get_rule
    from initscope.settings import load_settings

    settings = load_settings(Path(gate.config) if gate.config else None)
    cases = {}  # of a user's model, --rule may be own or a checkpoint
    if not own.chosen():
        rules = [get_rule(name, settings.rules) for name in gate.rule] if gate.rule else None
        cases = {"rules": rules, **_cases(shape)}
    flags = {**gate.flags(), **cases}
    changed = [
        one.replace(measurement=measurement.chosen() or None, **flags) for one in settings.checks
    ]
    for one in changed:
        if not own.chosen():
            list(one.cases())  # every name and shape is known before the first measurement
        if not selected(one.select, one.ignore):
            raise UsageError("--select and --ignore leave no check to run")
        one.options()
    return changed


def _cases(shape: Shape) -> dict[str, Any]:
    """Return the shape that was given as changes to a check's settings."""
    fields = shape.chosen()
    depth = fields.pop("n_layer", None)
    return {"shape": fields or None, "depths": [depth] if depth is not None else None}


def _measured(checks: Sequence[CheckSettings], gate: Gate) -> Iterator[Result]:
    from initscope.gate import run
    from initscope.rules import get_rule

    with progress() as report:
        devices = {options.device: options for options in (one.options() for one in checks)}
        for options in devices.values():
            announce(options)
        for one in checks:
            for rule in one.rules:
                tell_architecture(get_rule(rule), one.shape)
            yield from run(one, remedy=gate.remedy, report=report)


def _measured_own(
    checks: Sequence[CheckSettings], own: Own, gate: Gate, shape: Shape
) -> Iterator[Result]:
    """Judge a user's model: by its own draw, or by each rule that was asked for."""
    from initscope.gate import run_own

    subjects = [own.subject(shape, rule) for rule in gate.rule or [""]]
    for one in checks:
        _tell_unheeded(one)
    with progress() as report:
        for one in checks:
            announce(one.options())
            tell(subjects, one.options())
            for subject in subjects:
                yield from run_own(one, subject, report=report)


def _tell_unheeded(check: CheckSettings) -> None:
    """Say what of the settings is about the built-in GPT, and so left out."""
    usual = type(check)(name=check.name)
    given = {"rule": check.rules != usual.rules, "n_layer": check.depths != usual.depths}
    names = [name for name, is_given in given.items() if is_given] + list(check.shape)
    if names:
        say(
            f"check {check.name}: {', '.join(names)} of its settings are about the built-in GPT; "
            "beside --model, --rule, --n-layer and the like say it"
        )


def _saved(files: Sequence[str], checks: Sequence[CheckSettings]) -> Iterator[Result]:
    """Judge saved profiles, without torch."""
    from initscope.gate import review

    return (
        review(profile, file, one) for file in files for profile in load(file) for one in checks
    )


def _baseline(results: list[Result], gate: Gate, known: dict[str, Any] | None) -> list[Result]:
    """Hold the results against a saved baseline, or save them as one."""
    if gate.save_baseline is None and known is None:
        return results
    from initscope import baseline

    if gate.save_baseline is not None:
        summary = baseline.summarise({result.name: result.profile for result in results})
        deliver(gate.save_baseline, baseline.dumps(summary))
    if known is None:
        return results
    return [
        result.with_findings(
            baseline.compare(result.profile, known.get(result.name), gate.tolerance)
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
        say(render(named, "github").rstrip())  # the runner reads both; stdout may be JSON
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:  # other steps write to it too
            file.write(render(named, "markdown"))


command = with_options(check)
