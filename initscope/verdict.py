"""What was found of a profile: classes, findings, the reason and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from initscope.notation import counted


class Status(StrEnum):
    """What a check found."""

    KEPT = "kept"
    BROKEN = "broken"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured"


class Level(StrEnum):
    """What a broken check means for the exit code."""

    ERROR = "error"
    WARN = "warn"


class Class(StrEnum):
    """What the signal does, in one direction."""

    BOUNDED = "bounded"
    GROWS = "grows"
    EXPLODES = "explodes"
    VANISHES = "vanishes"
    ZERO = "zero by rule"
    INCONCLUSIVE = "inconclusive"
    UNKNOWN = "not measured"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check's answer: what was measured, against what, and where.

    ``layer`` and ``site`` name the first bad place, ``value``, ``error`` and ``bound`` what the
    sentence in ``message`` compares.
    """

    code: str
    name: str
    status: Status
    message: str
    level: Level = Level.ERROR
    summary: str = ""
    value: float | None = None
    error: float | None = None
    bound: float | None = None
    layer: int | None = None
    site: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the check is broken at level error."""
        return self.status is Status.BROKEN and self.level is Level.ERROR


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found of one profile.

    ``seeds`` is 0 for what theory predicts. ``remedy`` is a sentence about a change that was
    measured to help, or empty. ``step`` is that of a training run, None outside one.
    """

    rule: str
    n_layer: int
    seeds: int
    forward: Class
    backward: Class
    findings: tuple[Finding, ...]
    reason: str = ""
    remedy: str = ""
    traits: tuple[str, ...] = field(default=())
    step: int | None = None

    def of(self, *statuses: Status) -> Iterator[Finding]:
        """Yield the findings of some statuses, in the order of their codes."""
        return (finding for finding in self.findings if finding.status in statuses)

    @property
    def broken(self) -> bool:
        """Whether any check at level error is broken."""
        return any(finding.failed for finding in self.findings)

    @property
    def inconclusive(self) -> bool:
        """Whether a check at level error could not be decided."""
        return any(finding.level is Level.ERROR for finding in self.of(Status.INCONCLUSIVE))

    @property
    def status(self) -> Status:
        """What the findings amount to; without a single measured one nothing was kept."""
        if all(finding.status is Status.NOT_MEASURED for finding in self.findings):
            return Status.NOT_MEASURED
        if self.broken:
            return Status.BROKEN
        return Status.INCONCLUSIVE if self.inconclusive else Status.KEPT

    @property
    def headline(self) -> str:
        """One line: the class of each direction, what else is wrong, and at which step or seeds."""
        said = [f"forward {self.forward}", f"backward {self.backward}", *self.traits]
        seeds = {0: "theory", 1: "one seed"}.get(self.seeds, f"{self.seeds} seeds")
        where = seeds if self.step is None else f"step {self.step}"
        return f"{self.rule}, {counted(self.n_layer, 'layer')}: {', '.join(said)} ({where})"

    @property
    def lines(self) -> list[str]:
        """The headline, then the reason and the remedy where there are any."""
        said = {"reason": self.reason, "remedy": self.remedy}
        return [self.headline, *(f"{what}: {text}" for what, text in said.items() if text)]

    @property
    def word(self) -> str:
        """The classes in a word or two, for a column of a table."""
        forward, backward = self.forward, self.backward
        return str(forward) if forward == backward else f"{forward} / {backward}"
