"""Where results go: a table on stdout unless something else claims it, and any files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Option

from initscope.cli.view import view
from initscope.errors import UsageError
from initscope.files import STDOUT, check_writable, deliver
from initscope.store import check_saving, encode

if TYPE_CHECKING:
    from rich.console import RenderableType

    from initscope.options import Options
    from initscope.profile import Profile
    from initscope.verdict import Verdict

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
        places = [_place(target) for target in targets]
        for target, place in zip(targets, places, strict=True):
            if places.count(place) > 1:
                where = "stdout (-)" if target == STDOUT else target
                raise UsageError(f"two results cannot both go to {where}; give each its own file")
        for name, target in self._data().items():
            check_saving(name, target)
        if self.plot is not None:
            if Path(self.plot).suffix.lower() not in PLOTS:
                raise UsageError(f"--plot {self.plot}: a figure's file ends in {', '.join(PLOTS)}")
            check_writable(self.plot, binary=True)

    def write(
        self, profiles: Sequence[Profile], verdicts: Sequence[Verdict], *, run: bool = False
    ) -> None:
        """Write everything asked for; the table goes to stdout unless data does.

        ``run`` says that the profiles are steps of one training run.

        Raises:
            MeasurementError: when something could not be written; the table is shown first.
        """
        try:
            self._write_files(profiles)
        finally:  # a full disk does not take what may have been measured for an hour
            if STDOUT not in self._data().values():
                show(view(profiles, verdicts, all_layers=self.all_layers, run=run))

    def _write_files(self, profiles: Sequence[Profile]) -> None:
        for name, target in self._data().items():
            deliver(target, encode(profiles, name))
        if self.plot is not None:
            from initscope.plot import figure, save_bytes

            suffix = Path(self.plot).suffix.lower().removeprefix(".")
            deliver(self.plot, save_bytes(figure(profiles), suffix))


def _place(target: str) -> str:
    """Return what two spellings of one file share."""
    return target if target == STDOUT else os.path.realpath(target)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document to stdout.

    Raises:
        MeasurementError: when it could not be written.
    """
    from json import dumps

    deliver(STDOUT, dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def show(renderable: RenderableType, *, stderr: bool = False) -> None:
    """Print to stdout, or to stderr beside a result; plain where it is not a terminal.

    Raises:
        MeasurementError: when it could not be written.
        BrokenPipeError: when the reader of stdout has left; rich itself would end in code 1.
    """
    from rich.console import Console, detect_legacy_windows

    # An old Windows console knows no escape codes.
    colours: Literal["auto"] | None = None if detect_legacy_windows() else "auto"
    console = Console(highlight=False, color_system=colours, stderr=stderr)
    with console.capture() as captured:
        console.print(renderable)
        console.quiet = True  # rich would now write nothing, on which a full disk fails too
    if stderr:
        say(captured.get())
    else:
        deliver(STDOUT, captured.get())


def say(message: str) -> None:
    """Write a line about the run, not its result, to stderr, where that can be written to."""
    with suppress(OSError):
        if sys.stderr is not None:  # Python's stand-in for one that was closed
            sys.stderr.write(message + "\n")


def announce(options: Options) -> None:
    """Say on stderr where it is measured, and why there."""
    from initscope.devices import choose_device, choose_dtype

    choice = choose_device(options.device)
    choose_dtype(options.dtype)
    say(f"measuring on {choice.device} ({choice.reason}), {options.dtype}")


def tell_theory(profiles: Sequence[Profile]) -> None:
    """Say once on stderr beside which profiles no prediction stands, and why."""
    from initscope.digest import prediction

    words = {p.run.remark: p.rule for p in reversed(profiles) if p.run.remark and not prediction(p)}
    for why, rule in reversed(words.items()):
        say(f"no prediction beside {rule}: {why}")


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
    # FORCE_COLOR makes rich take a pipe for a terminal, but no one watches a bar in a log.
    quiet = not (console.is_interactive and sys.stderr.isatty())
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("starting", total=None)

        def report(what: str, done: int, total: int) -> None:
            if done == 1:
                bar.reset(task, total=total)
            bar.update(task, description=what, completed=done, total=total)

        yield report
