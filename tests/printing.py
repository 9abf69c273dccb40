"""Reports as text: printed, and taken apart again."""

from __future__ import annotations

import io
import re

from rich.console import Console, RenderableType

NUMBER = re.compile(r"^-?(\d+(\.\d+)?(e[+-]\d\d)?|inf|nan)%?$")


def printed(report: RenderableType, width: int = 200, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    Console(width=width, file=file, highlight=False).print(report)
    file.flush()
    return raw.getvalue().decode(encoding)


def body(text: str) -> list[list[str]]:
    """Return the table's rows, split where two blanks or more part them."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if set(line.strip()) <= set("─-") and line)
    return [re.split(r"  +", line.strip()) for line in lines[start + 1 : lines.index("", start)]]


def header(text: str) -> str:
    """Return the column heads, on one line."""
    above, _, _ = text.partition("──")
    return " ".join(above.rpartition("\n\n")[2].split())


def numbers(text: str) -> list[str]:
    return [cell for row in body(text) for cell in row if NUMBER.match(cell)]


def note(text: str, label: str) -> str:
    return " ".join(
        line.removeprefix(label) for line in text.splitlines() if line.startswith(label)
    )
