"""Markdown: a job summary with a row a check, and folded below what needs attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from initscope.formats.named import Named, explanation, one_line, tally
from initscope.verdict import Status

LIMIT = 1 << 20  # bytes: GitHub refuses the summary of a step that is larger

_HEAD = "| status | check | found |\n| --- | --- | --- |\n"
_CUT = "\n*The rest is cut off here, at the size limit of a job summary.*\n"
_ICONS = {
    Status.KEPT: "✅", Status.BROKEN: "❌", Status.INCONCLUSIVE: "❔", Status.NOT_MEASURED: "❔",
}  # fmt: skip

# As character references these are text, both in Markdown (CommonMark §2.5) and in HTML.
_ACTIVE = str.maketrans({mark: f"&#{ord(mark)};" for mark in "&<>|\\`*_[]~$"})


def render(checks: Sequence[Named]) -> str:
    """Write a summary for GITHUB_STEP_SUMMARY, or any other place that shows Markdown."""
    return _fitted([f"### initscope: {tally(checks)}\n", *_rows(checks), *_details(checks)])


def _rows(checks: Sequence[Named]) -> Iterator[str]:
    if checks:
        yield "\n" + _HEAD
    for check in checks:
        cells = (_status(check), _escaped(check.name), _escaped(check.verdict.headline))
        yield f"| {' | '.join(cells)} |\n"


def _details(checks: Sequence[Named]) -> Iterator[str]:
    for check in checks:
        _, *complaints = explanation(check)
        if complaints:
            items = "\n".join(f"- {_escaped(line)}" for line in complaints)
            summary = f"<summary>{_status(check)}: {_escaped(check.name)}</summary>"
            yield f"\n<details>{summary}\n\n{items}\n\n</details>\n"


def _status(check: Named) -> str:
    return f"{_ICONS[check.status]} {check.status}"


def _escaped(text: str) -> str:
    return one_line(text).translate(_ACTIVE)


def _fitted(blocks: Sequence[str]) -> str:
    """Join the blocks that fit into the limit, and say so if not all do."""
    whole = "".join(blocks)
    if len(whole.encode()) <= LIMIT:
        return whole
    shown, room = [], LIMIT - len(_CUT)
    for block in blocks:
        room -= len(block.encode())
        if room < 0:
            break
        shown.append(block)
    return "".join([*shown, _CUT])
