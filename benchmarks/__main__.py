"""``python -m benchmarks``: time and memory of each contestant, in one run.

Each runs in a process of its own, in turns, and the median over the rounds is shown; ratios are
to hand-written hooks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

from benchmarks.contestants import CONTESTANTS

BASELINE = "hand-written hooks"
GIB = 2**30


def run(name: str, shape: list[str]) -> dict[str, float] | None:
    """Time a contestant in a child process; None if it did not finish."""
    command = [sys.executable, "-m", "benchmarks.contestants", name, *shape]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.stderr.write(result.stderr[-500:])
        return None
    return dict(json.loads(result.stdout))


def rounds(shape: list[str], count: int) -> dict[str, dict[str, float] | None]:
    """Run every contestant in turns, and take medians."""
    runs = [{name: run(name, shape) for name in CONTESTANTS} for _ in range(count)]
    medians: dict[str, dict[str, float] | None] = {}
    for name in CONTESTANTS:
        done = [cells for cells in (one[name] for one in runs) if cells is not None]
        medians[name] = {
            key: statistics.median(cells[key] for cells in done) for key in done[0]
        } if done else None  # fmt: skip
    return medians


def table(title: str, cells: dict[str, dict[str, float] | None]) -> Table:
    """Set the contestants side by side, with ratios to the baseline."""
    shown = Table(
        "contestant", "seconds", "time ratio", "peak GiB", "memory ratio", "readings", title=title
    )
    base = cells[BASELINE]
    for name, cell in cells.items():
        if cell is None:
            shown.add_row(name, "does not fit")
            continue
        ratios = [cell[k] / base[k] if base else float("nan") for k in ("seconds", "bytes")]
        shown.add_row(
            name, f"{cell['seconds']:.2f}", f"{ratios[0]:.2f}",
            f"{cell['bytes'] / GIB:.2f}", f"{ratios[1]:.2f}", f"{cell['readings']:.0f}",
        )  # fmt: skip
    return shown


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-layer", default="48")
    parser.add_argument("--n-embd", default="768")
    parser.add_argument("--tokens", default="256")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    shape = ["--n-layer", args.n_layer, "--n-embd", args.n_embd, "--tokens", args.tokens]
    cells = rounds(shape, args.rounds)
    if args.json:
        print(json.dumps(cells, indent=2))
    else:
        title = f"{args.n_layer} blocks x {args.n_embd}, {args.tokens} tokens"
        Console().print(table(title, cells))


if __name__ == "__main__":
    main()
