"""``python -m benchmarks.scaling``: the streamed engine's time and memory against work.

Depth is doubled at a small width, then the tokens; an exponent is the slope of the logarithms,
with its standard error. What does not grow (embedding, head, start) is fitted beside it: a line's
start, and its step a layer or a token.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import say
from benchmarks.case import Cell, run_arguments
from benchmarks.child import OK, Limits, Outcome, run
from benchmarks.fitting import exponent, line
from benchmarks.standings import GIB, median, memory, seconds

DEPTHS = (6, 12, 24, 48, 96, 192, 384, 768, 1536)
LENGTHS = (64, 128, 256, 512, 1024, 2048)
NAME = "streamed"


def sweep(args: argparse.Namespace, axis: str, values: Sequence[int]) -> dict[str, Any]:
    """Measure along one axis, in turns; return points and fits."""
    cells = [_cell(args, axis, value) for value in values]
    rounds = [[_measure(args, cell) for cell in cells] for _ in range(args.rounds)]
    points = []
    for value, outcomes in zip(values, zip(*rounds, strict=True), strict=True):
        point: dict[str, Any] = {axis: value, "status": outcomes[0].status}
        if all(one.status == OK for one in outcomes):
            turns = [{NAME: one} for one in outcomes]
            point["seconds"] = median(turns, NAME, seconds)
            point["bytes"] = median(turns, NAME, memory)
        points.append(point)
    return {"axis": axis, "points": points, "fits": fits(points, axis)}


def _cell(args: argparse.Namespace, axis: str, value: int) -> Cell:
    return Cell(args.n_layer, args.n_embd, args.tokens)._replace(**{axis: value})


def _measure(args: argparse.Namespace, cell: Cell) -> Outcome:
    say(f"{cell}")
    given = ["--cell", str(cell), "--threads", str(args.threads), "--device", args.device,
             "--vocab-size", str(args.vocab_size)]  # fmt: skip
    return run([NAME, *given], Limits(args.memory))


def fits(points: Sequence[dict[str, Any]], axis: str) -> dict[str, Any]:
    """Fit each quantity's power and line over the points that were measured."""
    known = [point for point in points if "seconds" in point]
    if len(known) < 3:
        return {}
    x = [point[axis] for point in known]
    found = {}
    for quantity in ("seconds", "bytes"):
        y = [point[quantity] for point in known]
        half = len(x) // 2
        found[quantity] = {
            "exponent": exponent(x, y)._asdict(),
            "exponent, larger half": exponent(x[half:], y[half:])._asdict(),
            "line": line(x, y)._asdict(),
        }
    return found


def table(found: dict[str, Any], title: str) -> Table:
    """Set the points below each other, and the fits below them."""
    axis, shown = found["axis"], Table(title=title)
    for head in (found["axis"], "seconds", "ms each", "peak GiB"):
        shown.add_column(head, justify="right")
    for point in found["points"]:
        if "seconds" in point:
            each = 1000 * point["seconds"] / point[axis]
            numbers = (f"{point['seconds']:.2f}", f"{each:.2f}", f"{point['bytes'] / GIB:.3f}")
            shown.add_row(str(point[axis]), *numbers)
        else:
            shown.add_row(str(point[axis]), point["status"])
    if found["fits"]:
        time, space = found["fits"]["seconds"], found["fits"]["bytes"]
        shown.add_section()
        for name in ("exponent", "exponent, larger half"):
            cells = [
                f"{one[name]['value']:.3f} ± {one[name]['error']:.3f}" for one in (time, space)
            ]
            shown.add_row(name, cells[0], "", cells[1])
        start, step = time["line"]["start"], 1000 * time["line"]["step"]
        more = space["line"]["step"] / 2**20
        shown.add_row("line", f"{start:.2f} s", f"{step:.2f}", f"+ {more:.3f} MiB each")
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--depths", type=int, nargs="*", default=DEPTHS)
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("--n-layer", type=int, default=24, help="where the tokens are varied")
    parser.add_argument("--n-embd", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=128, help="where the depth is varied")
    parser.add_argument("--vocab-size", type=int, default=512)
    run_arguments(parser)
    args = parser.parse_args(arguments)
    found = [sweep(args, axis, sorted(values)) for axis, values in
             (("n_layer", args.depths), ("tokens", args.lengths)) if values]  # fmt: skip
    say("")
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for one in found:
        fixed = f"{args.tokens} tokens" if one["axis"] == "n_layer" else f"{args.n_layer} layers"
        Console().print(table(one, f"width {args.n_embd}, {fixed}, {args.rounds} rounds"))


if __name__ == "__main__":
    main()
