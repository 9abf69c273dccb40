"""``python -m benchmarks.rules``: what comparing more rules costs beside measuring one.

``compare`` measures the rules on the same tokens and base random numbers. Each number of rules
runs in a process of its own, in turns; a ratio is the median of those within a round.
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
from benchmarks.case import Cell, cell_argument, run_arguments
from benchmarks.child import OK, Limits, Outcome, run
from benchmarks.standings import GIB

# Of one architecture, and all but one of them normal draws whose std alone differs.
RULES = ("nanogpt", "nanogpt-flat", "xavier", "kaiming", "folklore-times-0.02",
         "folklore-sqrt-2-over-l", "folklore-1-over-sqrt-l", "folklore-ffn")  # fmt: skip


def rounds(args: argparse.Namespace) -> list[list[Outcome]]:
    """Compare each number of rules, in turns."""
    done = []
    for _ in range(args.rounds):
        turn = []
        for count in args.counts:
            say(f"{count} rules")
            given = [
                "streamed",
                "--cell",
                str(args.cell),
                "--threads",
                str(args.threads),
                "--device",
                args.device,
            ]
            names = [name for rule in RULES[:count] for name in ("--rule", rule)]
            turn.append(run([*given, *names], Limits(args.memory)))
        done.append(turn)
    say("")
    return done


def rows(counts: Sequence[int], done: Sequence[Sequence[Outcome]]) -> list[dict[str, Any]]:
    """Reduce the rounds to a row a number of rules."""
    found = []
    for place, count in enumerate(counts):
        own = [(turn[place], turn[0]) for turn in done]
        bad = next((one for one, _ in own if one.status != OK), None)
        if bad is not None:
            found.append({"rules": count, "status": bad.status, "detail": bad.detail})
            continue
        known = [(a.found, b.found) for a, b in own if b.status == OK]
        found.append({
            "rules": count, "status": OK,
            "seconds": statistics.median(a["seconds"] for a, _ in known),
            "bytes": statistics.median(a["bytes"] for a, _ in known),
            "ratio": statistics.median(a["seconds"] / b["seconds"] for a, b in known),
        })  # fmt: skip
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules", description=__doc__)
    parser.add_argument("--cell", type=cell_argument, default=Cell(48, 768, 256))
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8],
                        choices=range(1, len(RULES) + 1), metavar="N")  # fmt: skip
    run_arguments(parser)
    args = parser.parse_args(arguments)
    found = rows(args.counts, rounds(args))
    if args.json:
        print(json.dumps(found, indent=2))
        return
    first = f"÷ {args.counts[0]} rule" + ("s" if args.counts[0] > 1 else "")
    shown = Table("rules", "seconds", first, "peak GiB", title=f"compare, {args.cell}")
    for row in found:
        cells = [row["status"], "", ""] if row["status"] != OK else [
            f"{row['seconds']:.2f}", f"{row['ratio']:.2f}", f"{row['bytes'] / GIB:.2f}",
        ]  # fmt: skip
        shown.add_row(str(row["rules"]), *cells)
    Console().print(shown)


if __name__ == "__main__":
    main()
