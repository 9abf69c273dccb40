"""``python -m benchmarks.catalogue``: every rule in its own architecture, by depth.

A row a rule: its depth exponents, forward and backward, the residual variance after the last block
at each depth, and the gradient's variance in the first layer over that in the last.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from initscope.growth import final_values, fit
from initscope.notation import number
from initscope.options import Options
from initscope.profile import Profile, concat
from initscope.rules import RULES, config_for
from initscope.sweep import inspect

DIRECTIONS = ("forward", "backward")
WIDE = 150  # characters: a table that is cut says less than one that is scrolled


def measure(rule: str, args: argparse.Namespace) -> Profile:
    """Measure a rule at every depth, as one profile."""
    options = Options(
        seeds=args.seeds, seq_len=args.tokens, device=args.device, depth_law=False,
        forward_only=args.forward_only,
    )  # fmt: skip
    shape = {"n_embd": args.n_embd, "vocab_size": args.vocab_size}
    profiles = [
        inspect(config_for(rule, n_layer=depth, **shape), rule, options)
        for depth in sorted(args.depths)
    ]
    deepest = profiles[-1]
    table = concat([profile.table for profile in profiles])
    return Profile(rule=rule, config=deepest.config, run=deepest.run, table=table)


def row(profile: Profile, depths: Sequence[int]) -> dict[str, Any]:
    """Reduce a profile to its exponents and what they are fitted to, means over seeds."""
    cells: dict[str, Any] = {"rule": profile.rule}
    for direction in DIRECTIONS:
        values = final_values(profile, direction)
        estimate = fit(profile, direction, values)
        means = values.mean(axis=1, skipna=False)
        known = means[np.isfinite(means)].to_dict()
        cells[direction] = {
            "exponent": None if estimate is None else estimate.value,
            "said": "–" if estimate is None else str(estimate),
            "values": {depth: known.get(depth) for depth in depths},
        }
    return cells


def table(rows: Sequence[dict[str, Any]], depths: Sequence[int], title: str) -> Table:
    """Set the rules below each other."""
    shown = Table(
        "rule", "forward exponent", *(f"variance, {n}" for n in depths),
        "backward exponent", *(f"first/last, {n}" for n in depths), title=title,
    )  # fmt: skip
    for cells in rows:
        columns = [cells["rule"]]
        for direction in DIRECTIONS:
            columns.append(cells[direction]["said"])
            values = cells[direction]["values"].values()
            columns += ["–" if value is None else number(value) for value in values]
        shown.add_row(*columns)
    return shown


def main() -> None:
    """Measure every rule and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[12, 48, 96])
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES, metavar="RULE")
    parser.add_argument("--n-embd", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--vocab-size", type=int, default=50304)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--forward-only", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    profiles = track(args.rules, "rules", console=Console(file=sys.stderr), transient=True)
    depths = sorted(args.depths)
    rows = [row(measure(rule, args), depths) for rule in profiles]
    title = f"width {args.n_embd}, {args.tokens} tokens, seeds: {args.seeds}, own architecture"
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        console = Console()
        console.width = max(console.width, WIDE)
        console.print(table(rows, depths, title))


if __name__ == "__main__":
    main()
