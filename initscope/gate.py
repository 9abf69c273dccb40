"""A gate for a pipeline: measure what a check names, judge it, and look for a remedy.

Torch loads only inside :func:`run`: saved profiles are judged without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from initscope.errors import ExitCode
from initscope.formats import Named, no_check_ran
from initscope.judging import judge
from initscope.notation import counted
from initscope.options import Report
from initscope.profile import Profile
from initscope.settings import CheckSettings
from initscope.verdict import Finding, Verdict

if TYPE_CHECKING:
    from initscope.own import Subject


class Result(NamedTuple):
    """A check's profile and verdict, and the settings that asked for them."""

    name: str
    profile: Profile
    verdict: Verdict
    check: CheckSettings

    @property
    def named(self) -> Named:
        """The verdict under its name, as formats take it."""
        return Named(self.name, self.verdict)

    def with_findings(self, findings: Sequence[Finding]) -> Result:
        """Return the result with more found, such as a comparison with a baseline."""
        more = (*self.verdict.findings, *findings)
        return self._replace(verdict=dataclasses.replace(self.verdict, findings=more))


def judge_by(check: CheckSettings) -> Callable[[Profile], Verdict]:
    """Return what makes a verdict of a profile under a check's bounds and selection."""
    return partial(
        judge, bounds=check.bounds, select=check.select, ignore=check.ignore, levels=check.levels
    )


def run(
    check: CheckSettings, *, remedy: bool = True, report: Report | None = None
) -> Iterator[Result]:
    """Measure every rule at every depth of a check, with as many seeds as the verdict takes.

    Raises:
        UsageError: for settings that cannot be right.
        MeasurementError: when memory does not suffice.
    """
    from initscope.decide import decide
    from initscope.remedy import with_remedy

    options, verdict_of = check.options(), judge_by(check)
    for rule, config in check.cases():
        profile, verdict = decide(
            config, rule, options, verdict_of,
            max_seeds=check.max_seeds, precision=check.precision, report=report,
        )  # fmt: skip
        if remedy and verdict.broken:
            verdict = with_remedy(verdict, rule, config, options, check.bounds, report=report)
        yield _result(check.name, profile, verdict, check)


def run_own(
    check: CheckSettings, subject: Subject, *, report: Report | None = None
) -> Iterator[Result]:
    """Measure a user's model as a check says, with as many seeds as the verdict takes.

    Raises:
        UsageError: for a model that cannot be measured as it is asked for.
        MeasurementError: when the model's own code fails.
    """
    from initscope.decide import settle

    options, verdict_of = check.options(), judge_by(check)

    def more(profile: Profile, seeds: int) -> Profile:
        return subject.extend(profile, options, seeds, report)

    first = subject.inspect(options, report)
    profile, verdict = settle(
        first, more, verdict_of, max_seeds=check.max_seeds, precision=check.precision
    )
    yield _result(check.name, profile, verdict, check)


def review(profile: Profile, name: str, check: CheckSettings) -> Result:
    """Judge a saved profile as a check would have."""
    return _result(name, profile, judge_by(check)(profile), check)


def _result(name: str, profile: Profile, verdict: Verdict, check: CheckSettings) -> Result:
    what = profile.run.model or profile.rule
    what = f"{what} by {profile.rule}" if profile.run.model and profile.rule != "own" else what
    title = f"{name}: {what}, {counted(profile.config.n_layer, 'layer')}"
    return Result(title, profile, verdict, check)


def exit_code(results: Sequence[Result]) -> ExitCode:
    """Return what the process is to end in; that nothing could be checked is no success."""
    if no_check_ran([result.named for result in results]):
        return ExitCode.MEASUREMENT
    failed = any(
        result.verdict.broken
        or (result.verdict.inconclusive and not result.check.allow_inconclusive)
        for result in results
    )
    return ExitCode.OUT_OF_BOUNDS if failed else ExitCode.OK
