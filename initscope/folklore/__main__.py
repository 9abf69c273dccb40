"""``python -m initscope.folklore``: the table of docs/folklore.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from initscope.folklore.claims import Row, folklore_report

_HEAD = ("told", "verdict", "what the code does", "measured")


def markdown(rows: Iterable[Row]) -> str:
    """Return the table: a claim a row, the command that shows it beside what was measured."""
    cells = [
        (claim.text, f"**{truth}**", claim.code, f"{measured} · `{claim.command}`")
        for claim, truth, measured in rows
    ]
    lines = [_HEAD, ("---",) * len(_HEAD), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown(folklore_report()))
