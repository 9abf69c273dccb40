"""``python -m benchmarks.roof``: how near the streamed engine comes to what bounds it.

A lower bound is the bytes that must be drawn at the generator's rate, and the operations of the
products at that of a bare product; both rates are measured in the run's own process, before and
after it, with its threads. "least" draws and multiplies all once; "one block" draws each
block again on the way back, and runs it again, as one that keeps a single block must.
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
from benchmarks.case import CELLS, Cell, cell_argument, run_arguments
from benchmarks.child import OK, Limits, run
from benchmarks.rates import Rates
from benchmarks.work import Work, once, streamed

BOUNDS = {"least": once, "one block": streamed}


def measure(args: argparse.Namespace, cell: Cell) -> dict[str, Any]:
    """Measure a cell; return its seconds, rates, and bounds with the fractions reached."""
    given = ["streamed", "--cell", str(cell), "--threads", str(args.threads), "--rates"]
    outcomes = []
    for _ in range(args.rounds):
        say(str(cell))
        outcomes.append(run([*given, "--device", args.device], Limits(args.memory)))
    bad = next((one for one in outcomes if one.status != OK), None)
    if bad is not None:
        return {"cell": str(cell), "status": bad.status, "detail": bad.detail}
    found = [one.found for one in outcomes]
    bounds = {name: bound(count(cell.config(), cell.tokens), found)
              for name, count in BOUNDS.items()}  # fmt: skip
    rates = Rates(*(statistics.median(one["rates"][i] for one in found) for i in (0, 1)))
    taken = statistics.median(one["seconds"] for one in found)
    return {"cell": str(cell), "status": OK, "seconds": taken, "rates": rates._asdict(),
            "threads": found[0]["threads"], "bounds": bounds}  # fmt: skip


def bound(work: Work, found: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the median bound, its share of draws, and the median fraction, each in its run."""
    least = [work.seconds(Rates(*one["rates"])) for one in found]
    reached = [one / run_["seconds"] for one, run_ in zip(least, found, strict=True)]
    drawing = [work.drawn / one["rates"][0] for one in found]
    return {
        "seconds": statistics.median(least), "drawing": statistics.median(drawing),
        "fraction": statistics.median(reached), **work._asdict(),
    }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Set the cells below each other."""
    shown = Table(title="the streamed engine and its lower bounds")
    heads = ["cell", "seconds", "draws GB/s", "products GFLOP/s"]
    heads += [
        f"{head}: {name}" for name in BOUNDS for head in ("bound s", "of it draws", "reached")
    ]
    for head in heads:
        shown.add_column(head, justify="right")
    for row in rows:
        if row["status"] != OK:
            shown.add_row(row["cell"], row["status"], row["detail"])
            continue
        rates = row["rates"]
        columns = [f"{row['seconds']:.2f}", f"{rates['drawn'] / 1e9:.2f}"]
        columns.append(f"{rates['flops'] / 1e9:.0f}")
        for one in row["bounds"].values():
            columns += [f"{one['seconds']:.2f}", f"{one['drawing']:.2f}", f"{one['fraction']:.2f}"]
        shown.add_row(row["cell"], *columns)
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roof", description=__doc__)
    parser.add_argument("--cell", dest="cells", action="append", type=cell_argument,
                        help="LAYERSxWIDTHxTOKENS, repeated; all of the benchmark's")  # fmt: skip
    run_arguments(parser)
    args = parser.parse_args(arguments)
    rows = [measure(args, cell) for cell in args.cells or CELLS]
    say("")
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        console = Console()
        console.width = max(console.width, 130)
        console.print(table(rows))


if __name__ == "__main__":
    main()
