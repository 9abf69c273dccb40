"""Text: a line a check, then what is wrong with those that need attention, then the count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from initscope.formats.named import Named, explanation, tally
from initscope.verdict import Status

_WIDTH = max(len(status) for status in Status)


def render(checks: Sequence[Named]) -> str:
    """Write a report for a terminal, without colours."""
    paragraphs = ["\n".join(map(_line, checks)), *_details(checks), tally(checks)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _line(check: Named) -> str:
    return f"{check.status.upper():{_WIDTH}}  {check.title}"


def _details(checks: Sequence[Named]) -> Iterator[str]:
    for check in checks:
        lines = explanation(check)
        if len(lines) > 1:
            yield "\n  ".join([check.title, *lines])
