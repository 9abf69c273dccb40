"""``python -m benchmarks``: time and memory of everyone who measures a GPT, in one run.

Each contestant runs in a process of its own, in turns; medians over the rounds are shown. One
that needs more memory than there is is ended before the machine swaps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console

from benchmarks.case import CELLS, Cell, cell_argument, run_arguments
from benchmarks.child import ABSENT, Limits, Outcome, run
from benchmarks.contestants import CONTESTANTS
from benchmarks.standings import LEGEND, Round, summary, table

WIDE = 150  # characters


def rounds(args: argparse.Namespace, cell: Cell) -> Iterator[Round]:
    """Run every contestant in turns; who has failed once is not tried again."""
    failed: dict[str, Outcome] = {}
    for number in range(args.rounds):
        done: dict[str, Outcome] = {}
        for name in args.contestants:
            say(f"{cell} round {number + 1} of {args.rounds}: {name}")
            done[name] = failed.get(name) or one(args, cell, name)
            if done[name].status != "ok":
                failed[name] = done[name]
        yield done


def one(args: argparse.Namespace, cell: Cell, name: str) -> Outcome:
    """Run a contestant in a child process."""
    if not CONTESTANTS[name].installed:
        return Outcome(ABSENT, {}, f"pip install {CONTESTANTS[name].package.replace('_', '-')}")
    given = ["--cell", str(cell), "--threads", str(args.threads), "--device", args.device]
    cold = ["--cold"] if args.cold else []
    return run([name, *given, *cold], Limits(args.memory, args.timeout))


def say(text: str) -> None:
    """Tell who watches the terminal what runs."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def machine(device: str) -> dict[str, Any]:
    """Describe what it was measured on."""
    return {"processor": platform.machine(), "cores": os.cpu_count(), "device": device,
            "python": platform.python_version()}  # fmt: skip


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--cell",
        dest="cells",
        action="append",
        type=cell_argument,
        help=f"LAYERSxWIDTHxTOKENS, repeated; all of {', '.join(map(str, CELLS))}",
    )
    parser.add_argument("--contestant", dest="contestants", action="append", choices=CONTESTANTS,
                        metavar="NAME",
                        help=f"repeated; all of {', '.join(CONTESTANTS)}")  # fmt: skip
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS")
    parser.add_argument("--cold", action="store_true", help="without a tiny model before")
    run_arguments(parser)
    args = parser.parse_args(arguments)
    args.contestants = args.contestants or list(CONTESTANTS)
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print."""
    args = _parsed(arguments)
    console = Console()
    console.width = max(console.width, WIDE)
    titles = {name: contestant.title for name, contestant in CONTESTANTS.items()}
    written: list[dict[str, Any]] = []
    for cell in args.cells or CELLS:
        cells = summary(list(rounds(args, cell)))
        written.append({"cell": str(cell), **cell._asdict(), "contestants": cells})
        say("")
        if not args.json:
            console.print(table(cell, cells, titles))
    if args.json:
        print(json.dumps({"machine": machine(args.device), "cells": written}, indent=2))
    else:
        console.print(LEGEND)


if __name__ == "__main__":
    main()
