"""GitHub: workflow commands, which become annotations of the run.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from initscope.formats.named import NO_CHECK_RAN, Named, explanation, no_check_ran, tally
from initscope.verdict import Status

LIMIT = 10  # annotations of a kind and step that GitHub shows


def render(checks: Sequence[Named]) -> str:
    """Write an error a broken check, a warning a doubtful one, and the count as plain text."""
    broken = [check for check in checks if check.status is Status.BROKEN]
    doubtful = [
        check for check in checks
        if check.status is not Status.BROKEN and len(explanation(check)) > 1
    ]  # fmt: skip
    lines = [*_annotations("error", broken), *_annotations("warning", doubtful), tally(checks)]
    if no_check_ran(checks):
        lines.insert(0, _command("error", "initscope", NO_CHECK_RAN))
    return "\n".join(lines) + "\n"


def _annotations(kind: str, checks: Sequence[Named]) -> Iterator[str]:
    hidden = len(checks) - LIMIT
    for number, check in enumerate(checks[:LIMIT], start=1):
        lines = explanation(check)
        if number == LIMIT and hidden > 0:
            lines.append(
                f"and {hidden} more: GitHub shows {LIMIT} {kind}s a step, --format text shows all"
            )
        yield _command(kind, f"initscope: {check.title}", "\n".join(lines))


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    """Escape a message; the percent sign first, as the others become one."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
