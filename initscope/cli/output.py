"""Where results go: a table on stdout unless something else claims it, and any files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from initscope.errors import UsageError
from initscope.files import STDOUT, check_writable, deliver
from initscope.store import check_saving, encode

if TYPE_CHECKING:
    from rich.console import RenderableType

    from initscope.profile import Profile

_OUT: dict[str, Any] = {"rich_help_panel": "Output"}
PLOTS = (".png", ".svg", ".pdf")


@dataclass
class Output:
    """What to write besides, or instead of, the table."""

    json: Annotated[
        str | None, Option(metavar="FILE", help="Save the profiles; - is stdout.", **_OUT)
    ] = None
    csv: Annotated[
        str | None, Option(metavar="FILE", help="The long table alone; - is stdout.", **_OUT)
    ] = None
    parquet: Annotated[
        str | None, Option(metavar="FILE", help="Save the profiles, compact.", **_OUT)
    ] = None
    plot: Annotated[
        str | None, Option(metavar="FILE.png|svg|pdf", help="Draw the figure.", **_OUT)
    ] = None
    all_layers: Annotated[
        bool, Option("--all-layers", help="Every layer in the table.", **_OUT)
    ] = False

    def _data(self) -> dict[str, str]:
        named = {"json": self.json, "csv": self.csv, "parquet": self.parquet}
        return {name: target for name, target in named.items() if target is not None}

    def check(self) -> None:
        """Refuse, before anything is measured, what could not be written after.

        Raises:
            UsageError: for a place that cannot be written, a figure of another kind, or two
                results that both want stdout.
        """
        targets = [*self._data().values(), *([self.plot] if self.plot else [])]
        for target in targets:
            if targets.count(target) > 1:
                place = "stdout (-)" if target == STDOUT else target
                raise UsageError(f"two results cannot both go to {place}; give each its own file")
        for name, target in self._data().items():
            check_saving(name, target)
        if self.plot is not None:
            if Path(self.plot).suffix.lower() not in PLOTS:
                raise UsageError(f"--plot {self.plot}: a figure's file ends in {', '.join(PLOTS)}")
            check_writable(self.plot, binary=True)

    def write(self, profiles: Sequence[Profile], table: Callable[[], RenderableType]) -> None:
        """Write everything asked for; the table goes to stdout unless data does."""
        for name, target in self._data().items():
            deliver(target, encode(profiles, name))
        if self.plot is not None:
            from initscope.plot import figure, save_bytes

            suffix = Path(self.plot).suffix.lower().removeprefix(".")
            deliver(self.plot, save_bytes(figure(profiles), suffix))
        if STDOUT not in self._data().values():
            show(table())


def show(renderable: RenderableType) -> None:
    """Print to stdout, plain where it is not a terminal."""
    from rich.console import Console

    Console(soft_wrap=False, highlight=False).print(renderable)


def say(message: str) -> None:
    """Write a line about the run, not its result, to stderr."""
    sys.stderr.write(message + "\n")


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on stderr, with the blocks done and the time left; silent when piped."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = [
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("blocks"), TimeRemainingColumn(),
    ]  # fmt: skip
    quiet = not console.is_terminal or os.environ.get("TERM") == "dumb"
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("starting", total=None)

        def report(what: str, done: int, total: int) -> None:
            if done == 1:
                bar.reset(task, total=total)
            bar.update(task, description=what, completed=done, total=total)

        yield report
