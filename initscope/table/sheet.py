"""Laying text out for a terminal: what fits its width, in characters that it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from textwrap import wrap

from rich.box import Box
from rich.cells import cell_len, set_cell_size
from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    JustifyMethod,
    RenderableType,
    RenderResult,
)
from rich.table import Table
from rich.text import Text

from initscope.captions import Note
from initscope.notation import ascii_only, number

GAP = 2
WIDE = 110  # from this width on, bars and sparklines take twice the room
MIN_NOTE = 20  # characters beside a label, however narrow the terminal
BAD = "bold red"
DIM = "dim"
_RULED = "    \n    \n {0}{0} \n    \n    \n    \n    \n    \n"  # a line below the header, no more


@dataclass(frozen=True)
class Cell:
    """One entry of a table; its style is never the only sign of what it says."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its header's lines and unit, its cells, and how long it is kept.

    Where not all fit, those of the highest ``rank`` go first; rank 0 stays.
    """

    head: tuple[str, ...]
    cells: Sequence[Cell]
    unit: str = ""
    rank: int = 0
    left: bool = False

    @property
    def name(self) -> str:
        """The header on one line."""
        return " ".join(self.head)

    @property
    def lines(self) -> list[str]:
        """Every line of the column, from the header down."""
        return [*self.head, self.unit, *(cell.text for cell in self.cells)]


def numeric(values: Iterable[float | None]) -> list[Cell]:
    """Write numbers as cells; what is not finite stands out."""
    return [
        Cell(number(value), BAD if value is not None and not math.isfinite(value) else "")
        for value in values
    ]


@dataclass(frozen=True)
class Page:
    """What is written on: a width in characters, and whether there is more than ASCII."""

    width: int
    ascii: bool = False

    @property
    def wide(self) -> bool:
        """Whether there is room to spare."""
        return self.width >= WIDE

    def spell(self, text: str) -> str:
        """Write a text in the characters that there are."""
        return ascii_only(text) if self.ascii else text

    def text(self, text: str, style: str = "") -> Text:
        """Return a text to render, taken literally."""
        return Text(self.spell(text), style)

    def facts(self, facts: Sequence[str]) -> Text:
        """Join facts by dots; lines break between facts, never within."""
        lines, dot = [""], self.spell(" · ")
        for fact in map(self.spell, facts):
            longer = f"{lines[-1]}{dot}{fact}" if lines[-1] else fact
            if lines[-1] and cell_len(longer) > self.width:
                lines.append(fact)
            else:
                lines[-1] = longer
        return Text("\n".join(lines))

    def notes(self, notes: Sequence[Note]) -> Text:
        """Set notes below each other, each indented past its label."""
        indent = max((cell_len(self.spell(note.label)) for note in notes), default=0) + GAP
        room = max(self.width - indent, MIN_NOTE)
        lines = [
            Text.assemble(
                (set_cell_size(label, indent), DIM), (line, BAD if note.bad else "")
            )
            for note in notes
            for label, line in zip_longest(
                [self.spell(note.label)], wrap(self.spell(note.text), room), fillvalue=""
            )
        ]  # fmt: skip
        return Text("\n").join(lines)

    def table(self, columns: Sequence[Column]) -> Table:
        """Set the columns that fit side by side; no number is ever cut or wrapped."""
        # The box parts columns by one blank; the padding adds the rest of the gap.
        box = Box(_RULED.format("-" if self.ascii else "─"), ascii=self.ascii)
        table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
        shown = self.shortened(self.fitting(columns))
        for column in shown:
            head = self.text("\n".join(column.head))
            if column.unit:
                head.append(self.spell(f"\n{column.unit}"), DIM)
            side: JustifyMethod = "left" if column.left else "right"
            width = self.room_for(column)
            table.add_column(head, justify=side, vertical="bottom", no_wrap=True, min_width=width)
        for row in zip(*(column.cells for column in shown), strict=True):
            table.add_row(*(self.text(cell.text, cell.style) for cell in row))
        return table

    def room_for(self, column: Column) -> int:
        """Return the characters that a column takes."""
        return max(cell_len(self.spell(line)) for line in column.lines)

    def fitting(self, columns: Sequence[Column]) -> list[Column]:
        """Return the columns that fit, by rank, in their order."""
        kept, room = set[int](), self.width + GAP
        for i in sorted(range(len(columns)), key=lambda i: columns[i].rank):
            need = self.room_for(columns[i]) + GAP
            if need <= room or columns[i].rank == 0:
                room -= need
                kept.add(i)
        return [column for i, column in enumerate(columns) if i in kept]

    def shortened(self, columns: Sequence[Column]) -> list[Column]:
        """Cut names, never numbers, where even the columns that stay are too wide."""
        excess = sum(self.room_for(column) + GAP for column in columns) - GAP - self.width
        return [
            replace(column, cells=[self._cut(cell, self.room_for(column) - excess)
                                   for cell in column.cells])
            if column.left and column.rank == 0 and excess > 0 else column
            for column in columns
        ]  # fmt: skip

    def _cut(self, cell: Cell, width: int) -> Cell:
        text = self.spell(cell.text)
        if cell_len(text) <= width:
            return cell
        return Cell(set_cell_size(text, max(width - 1, 1)) + self.spell("…"), cell.style)

    def omissions(self, columns: Sequence[Column]) -> list[Note]:
        """Say which columns do not fit."""
        shown = self.fitting(columns)
        names = [column.name for column in columns if column not in shown]
        return [Note("columns", f"a wider terminal also shows {', '.join(names)}")] if names else []


@dataclass(frozen=True)
class Report:
    """A renderable that is set when the console's width and encoding are known."""

    build: Callable[[Page], Iterable[RenderableType]]
    width: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Build for the console at hand."""
        width = min(self.width or options.max_width, options.max_width)
        # The raster fonts of old Windows consoles lack the block elements.
        yield Group(*self.build(Page(width, options.ascii_only or options.legacy_windows)))
