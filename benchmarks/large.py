"""``python -m benchmarks.large``: what a model too large to try would take, from a few layers.

The streamed engine is run at the full width with few layers; a line through the times gives
the rest, and through the peaks likewise. Every number beyond what was run is marked
"extrapolated": it assumes that the machine goes on as it began.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import say
from benchmarks.case import VOCABULARY, Cell, run_arguments
from benchmarks.child import OK, Limits, Outcome, run
from benchmarks.fitting import line
from benchmarks.standings import GIB
from initscope.options import DTYPES

MARK = "extrapolated"


def measure(args: argparse.Namespace, layers: int) -> Outcome:
    """Run one number of layers in a child process."""
    cell = Cell(layers, args.n_embd, args.tokens)
    say(str(cell))
    given = ["streamed", "--cell", str(cell), "--threads", str(args.threads)]
    given += ["--dtype", args.dtype, "--vocab-size", str(args.vocab_size), "--device", args.device]
    direction = ["--forward-only"] if args.forward_only else []
    return run([*given, *direction], Limits(args.memory, args.timeout))


def rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every number of layers, in turns, and say what the whole depth would take."""
    layers = sorted(args.layers)
    turns = [[measure(args, count) for count in layers] for _ in range(args.rounds)]
    say("")
    found: list[dict[str, Any]] = []
    for count, outcomes in zip(layers, zip(*turns, strict=True), strict=True):
        bad = next((one for one in outcomes if one.status != OK), None)
        row: dict[str, Any] = {"layers": count, "status": OK if bad is None else bad.status}
        row["detail"] = "" if bad is None else bad.detail
        if bad is None:
            for key in ("seconds", "bytes"):
                row[key] = statistics.median(one.found[key] for one in outcomes)
        found.append(row)
    return [*found, *extrapolated(found, args.n_layer)]


def extrapolated(found: Sequence[dict[str, Any]], n_layer: int) -> list[dict[str, Any]]:
    """Carry the lines on to a depth that was not run; nothing where two points are missing."""
    known = [row for row in found if row["status"] == OK]
    if len(known) < 2 or any(row["layers"] == n_layer for row in known):
        return []
    depths = [row["layers"] for row in known]
    at = {
        key: line(depths, [row[key] for row in known]).at(n_layer) for key in ("seconds", "bytes")
    }
    return [{"layers": n_layer, "status": MARK, "detail": "", **at}]


def duration(seconds: float) -> str:
    """Write seconds as a person would say them."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def table(found: Sequence[dict[str, Any]], title: str) -> Table:
    """Set the depths below each other."""
    shown = Table("layers", "time", "peak GiB", "", title=title)
    for row in found:
        columns = [duration(row["seconds"]), f"{row['bytes'] / GIB:.2f}"] if "seconds" in row else [
            "", "",
        ]  # fmt: skip
        note = "" if row["status"] == OK else f"{row['status']} {row['detail']}".strip()
        shown.add_row(str(row["layers"]), *columns, note)
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--n-layer", type=int, default=96)
    parser.add_argument("--n-embd", type=int, default=12288)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--vocab-size", type=int, default=VOCABULARY)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3], help="what is run")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--forward-only", action="store_true")
    parser.add_argument("--timeout", type=float, default=7200.0, metavar="SECONDS")
    run_arguments(parser, rounds=1)
    args = parser.parse_args(arguments)
    found = rows(args)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    passes = "forward" if args.forward_only else "forward and backward"
    title = f"{args.n_layer} x {args.n_embd}, {args.tokens} tokens, {args.dtype}, {passes}"
    Console().print(table(found, title))


if __name__ == "__main__":
    main()
