"""``python -m benchmarks.accuracy``: theory beside the streamed engine, over a grid.

An error is the prediction over the measurements' mean, less 1, at one layer's end. The
measurements scatter themselves: ``noise`` is the median standard error of their means, ``beyond
noise`` the root of the errors' mean square less the noise's. ``covered`` is the share of single
seeds within the predicted 95 % band. Measured models are kept in a file, and not measured again.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.cells import DIRECTIONS, Cell, Request, Store, cells
from initscope.errors import UsageError

RULES = ("nanogpt", "nanogpt-flat", "xavier", "kaiming", "mup", "olmo-mitchell")
DEPTHS = (6, 12, 24, 48, 96)
WIDTHS = (256, 512, 768, 1024)
NORMS = ("pre", "post", "sandwich", "none")
ACTIVATIONS = ("gelu", "relu", "swiglu")
WIDE = 768  # from here on pre-norm has to be within 1 % (median), 5 % (95th percentile), 10 %


def summary(found: Sequence[Cell], title: str) -> Table:
    """Set forward and backward apart."""
    shown = Table(
        "direction", "models", "layers", "median", "95th percentile", "worst", "noise",
        "beyond noise", "covered by 95 %", title=title,
    )  # fmt: skip
    for direction in DIRECTIONS:
        own = [cell for cell in found if cell.direction == direction]
        if not own:
            continue
        errors = np.abs(np.concatenate([cell.errors for cell in own]))
        noise = np.concatenate([cell.noise for cell in own])
        covered = np.concatenate([cell.covered.ravel() for cell in own])
        beyond = np.sqrt(max(np.mean(errors**2) - np.mean(noise**2), 0.0))
        numbers = (
            np.median(errors), np.quantile(errors, 0.95), errors.max(), np.median(noise), beyond,
        )  # fmt: skip
        shown.add_row(
            direction, str(len(own)), str(len(errors)), *(f"{x:.2%}" for x in numbers),
            f"{covered.mean():.1%}",
        )  # fmt: skip
    return shown


def worst(found: Sequence[Cell], count: int = 5) -> Table:
    """Name the models with the largest errors."""
    shown = Table("model", *_COLUMNS, title="the worst cells")
    for cell in sorted(found, key=lambda cell: -np.abs(cell.errors).max())[:count]:
        shown.add_row(cell.request.key, *_row(cell))
    return shown


def every(found: Sequence[Cell]) -> Table:
    """List every model."""
    shown = Table("model", *_COLUMNS)
    for cell in found:
        shown.add_row(cell.request.key, *_row(cell))
    return shown


_COLUMNS = (
    "direction", "mean error", "worst", "at layer", "noise there", "sd of a seed", "predicted sd",
    "covered",
)  # fmt: skip


def _row(cell: Cell) -> Iterable[str]:
    layer = int(np.abs(cell.errors).argmax())
    return (
        cell.direction, f"{cell.errors.mean():+.1%}", f"{cell.errors[layer]:+.1%}", str(layer),
        f"{cell.noise[layer]:.1%}", f"{np.median(cell.spread):.1%}",
        f"{np.median(cell.said):.1%}", f"{cell.covered.mean():.0%}",
    )  # fmt: skip


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("accuracy.json"))
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--depths", nargs="+", type=int, default=DEPTHS)
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--norms", nargs="+", default=NORMS)
    parser.add_argument("--activations", nargs="+", default=ACTIVATIONS)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--print", action="store_true", help="measure nothing more")
    parser.add_argument("--every", action="store_true", help="list every model")
    return parser.parse_args()


def _grid(args: argparse.Namespace) -> list[Request]:
    names = ("n_layer", "n_embd", "norm", "activation")
    shapes = itertools.product(args.depths, args.widths, args.norms, args.activations)
    more = {"vocab_size": args.vocab_size, "block_size": max(1024, args.seq_len)}
    tokens = args.seq_len, args.batch, args.seeds
    return [
        Request(rule, {**dict(zip(names, values, strict=True)), **more}, *tokens)
        for values in shapes
        for rule in args.rules
    ]


def report(store: Store, *, full: bool) -> None:
    """Print the tables of all models of a file."""
    console = Console(width=150)
    found: list[Cell] = []
    silent: list[str] = []
    for key in store.models:
        try:
            own = cells(store, key)
        except UsageError as error:
            own, silent = [], [*silent, f"{key}: {error}"]
        found += own
        if not own:
            silent.append(key)
    wide = [c for c in found if c.request.shape["norm"] == "pre"]
    wide = [c for c in wide if c.request.shape["n_embd"] >= WIDE]
    console.print(summary(found, "all models"))
    console.print(summary(wide, f"pre-norm, width {WIDE} and more"))
    console.print(worst(found))
    if full:
        console.print(every(found))
    console.print(f"{len(silent)} models of which theory says that it does not hold to the end:")
    for name in silent:
        console.print(f"  {name}")


def main() -> None:
    """Parse, measure what the file lacks, print."""
    args = _parsed()
    store = Store(args.store)
    if not args.print:
        missing = [request for request in _grid(args) if not store.has(request)]
        for request in track(missing, "measuring", console=Console(stderr=True)):
            store.measure(request, args.device)
    report(store, full=args.every)


if __name__ == "__main__":
    main()
