"""A verdict under the name of its check, and what every format says of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

from initscope.notation import counted, layer_name
from initscope.verdict import Finding, Level, Status, Verdict

NO_CHECK_RAN = "no check ran"

# What no XML may hold (XML 1.0 §2.2), and the C1 controls: terminals obey them.
_UNPRINTABLE = re.compile(r"[^\s -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Named(NamedTuple):
    """A verdict and the check that asked for it.

    ``path`` is the file in which the check is configured, from the root of the repository.
    """

    name: str
    verdict: Verdict
    path: str = "pyproject.toml"

    @classmethod
    def of(cls, verdict: Verdict) -> Named:
        """Name a verdict by its rule and depth."""
        return cls(f"{verdict.rule}, {counted(verdict.n_layer, 'layer')}", verdict)

    @property
    def title(self) -> str:
        """The name on one line."""
        return one_line(self.name)

    @property
    def status(self) -> Status:
        """What became of the check; without a single measured finding it was not kept."""
        return self.verdict.status


def overall(checks: Sequence[Named]) -> Status:
    """Return what all checks amount to: kept only if there are any, and each is kept."""
    found = {check.status for check in checks} or {Status.NOT_MEASURED}
    gravest_first = (Status.BROKEN, Status.INCONCLUSIVE, Status.NOT_MEASURED, Status.KEPT)
    return next(status for status in gravest_first if status in found)


def no_check_ran(checks: Sequence[Named]) -> bool:
    """Whether there is no check, or none that measured anything."""
    return all(check.status is Status.NOT_MEASURED for check in checks)


def tally(checks: Sequence[Named]) -> str:
    """Count the checks by status: ``3 kept, 1 broken, 2 warnings``."""
    counts = Counter(check.status for check in checks)
    parts = [f"{counts[status]} {status}" for status in Status if counts[status]]
    warnings = sum(tag(finding) == "warning" for c in checks for finding in c.verdict.findings)
    if warnings:
        parts.append("1 warning" if warnings == 1 else f"{warnings} warnings")
    return ", ".join([NO_CHECK_RAN, *parts] if no_check_ran(checks) else parts)


def tag(finding: Finding) -> str:
    """Say what a finding asks for attention as; empty if it does not.

    A check at level warn that could not be decided does not: nothing would follow from it.
    """
    at_error = finding.level is Level.ERROR
    tags = {
        Status.BROKEN: "broken" if at_error else "warning",
        Status.INCONCLUSIVE: "inconclusive" if at_error else "",
    }
    return tags.get(finding.status, "")


def explanation(check: Named) -> list[str]:
    """Say line by line what was found: the headline, what is wrong and where, why, and what helps.

    Only the headline if nothing is wrong.
    """
    said = list(_complaints(check))
    advised = advice(check.verdict) if said else []
    fresh = [line for line in advised if not _repeats(line, said)]
    lines = [check.verdict.headline, *said, *fresh]
    return [one_line(line) for line in lines]


def _repeats(line: str, said: list[str]) -> bool:
    """Whether the reason is a finding's own sentence, which stands there already."""
    return any(line.removeprefix("reason: ") in complaint for complaint in said)


def _complaints(check: Named) -> Iterator[str]:
    if check.status is Status.NOT_MEASURED:
        yield "not measured: nothing that this check needs was recorded"
    for finding in check.verdict.findings:
        if tag(finding):
            yield f"{tag(finding)} {label(finding)}: {sentence(finding, check.verdict)}"


def advice(verdict: Verdict) -> list[str]:
    """Return the reason and the remedy, a line each, as far as they are known."""
    said = {"reason": verdict.reason, "remedy": verdict.remedy}
    return [one_line(f"{what}: {text}") for what, text in said.items() if text]


def occurrences(keys: Iterable[Hashable]) -> Iterator[int]:
    """Number equal keys from 1 in their order, so that each can be told from the others.

    >>> list(occurrences("abaa"))
    [1, 1, 2, 3]
    """
    seen: Counter[Hashable] = Counter()
    for key in keys:
        seen[key] += 1
        yield seen[key]


def label(finding: Finding) -> str:
    """Return a check's code and name on one line."""
    return one_line(f"{finding.code} {finding.name}")


def sentence(finding: Finding, verdict: Verdict) -> str:
    """Return a finding's message on one line, with its place: ``… (layer 17, mlp_down)``."""
    message, where = one_line(finding.message), place(finding, verdict.n_layer)
    return message if where in message else f"{message} ({where})"


def place(finding: Finding, n_layer: int) -> str:
    """Name where a finding is: ``layer 17, mlp_down``; empty if it is nowhere in particular."""
    parts = [] if finding.layer is None else [layer_name(finding.layer, n_layer)]
    return one_line(", ".join([*parts, *([finding.site] if finding.site else [])]))


def one_line(text: str) -> str:
    r"""Write a text on one line and without control characters or lone surrogates.

    >>> one_line("a\n  b\x1b[31m")
    'a b[31m'
    """
    return " ".join(_UNPRINTABLE.sub("", text).split())
