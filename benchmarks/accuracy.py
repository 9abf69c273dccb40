"""``python -m benchmarks.accuracy``: theory beside the streamed engine, over a grid.

An error is the prediction over the measurements' mean, less 1, at one layer's end. The
measurements scatter themselves: ``noise`` is the median standard error of their means. ``covered``
is the share of single seeds within the predicted 95 % band.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from initscope.errors import UsageError
from initscope.options import Options
from initscope.profile import Profile
from initscope.rules import config_for
from initscope.sweep import inspect
from initscope.theory import predict
from initscope.theory.band import band

Array = npt.NDArray[np.floating[Any]]

RULES = ("nanogpt", "nanogpt-flat", "xavier", "kaiming", "mup", "olmo-mitchell")
DEPTHS = (6, 12, 24, 48, 96)
WIDTHS = (256, 512, 768, 1024)
NORMS = ("pre", "post", "sandwich", "none")
ACTIVATIONS = ("gelu", "relu", "swiglu")
DIRECTIONS = ("forward", "backward")


class Cell(NamedTuple):
    """One model: a direction's errors by layer, their noise, and whether seeds lie in the band."""

    name: str
    direction: str
    errors: Array
    noise: Array
    covered: npt.NDArray[np.bool_]
    spread: float


def cells(shape: dict[str, Any], rule: str, options: Options) -> Iterable[Cell]:
    """Predict and measure one model."""
    config = config_for(rule, **shape)
    predicted = predict(config, rule, options)
    if predicted.run.remark:
        return
    measured = inspect(config, rule, options)
    name = " ".join([rule, *(str(value) for value in shape.values())])
    for direction in DIRECTIONS:
        yield _cell(name, direction, predicted, measured)


def _cell(name: str, direction: str, predicted: Profile, measured: Profile) -> Cell:
    said = predicted.select("resid_post", direction, "variance").iloc[:, 0].to_numpy()
    low, high = band(predicted, direction)
    found = measured.select("resid_post", direction, "variance").to_numpy()
    mean = found.mean(axis=1)
    spread = found.std(axis=1, ddof=1) / mean
    errors = said / mean - 1
    covered = (found >= low[:, None]) & (found <= high[:, None])
    noise = spread / np.sqrt(found.shape[1])
    return Cell(name, direction, errors, noise, covered, float(np.median(spread)))


def summary(found: Sequence[Cell], title: str) -> Table:
    """Set forward and backward apart."""
    shown = Table(
        "direction", "models", "layers", "median", "95th percentile", "worst", "noise",
        "covered by 95 %", title=title,
    )  # fmt: skip
    for direction in DIRECTIONS:
        own = [cell for cell in found if cell.direction == direction]
        errors = np.abs(np.concatenate([cell.errors for cell in own]))
        noise = np.concatenate([cell.noise for cell in own])
        covered = np.concatenate([cell.covered.ravel() for cell in own])
        numbers = (np.median(errors), np.quantile(errors, 0.95), errors.max(), np.median(noise))
        shown.add_row(
            direction, str(len(own)), str(len(errors)), *(f"{x:.2%}" for x in numbers),
            f"{covered.mean():.1%}",
        )  # fmt: skip
    return shown


def worst(found: Sequence[Cell], count: int = 5) -> Table:
    """Name the models with the largest errors."""
    shown = Table(
        "direction", "model", "layer", "error", "noise there", "sd of one seed", "covered",
        title="the worst cells",
    )  # fmt: skip
    for cell in sorted(found, key=lambda cell: -np.abs(cell.errors).max())[:count]:
        layer = int(np.abs(cell.errors).argmax())
        shown.add_row(
            cell.direction, cell.name, str(layer), f"{cell.errors[layer]:+.1%}",
            f"{cell.noise[layer]:.1%}", f"{cell.spread:.1%}", f"{cell.covered.mean():.0%}",
        )  # fmt: skip
    return shown


def every(found: Sequence[Cell]) -> Table:
    """List every model: its largest error, and how far it is from its noise."""
    shown = Table("model", "direction", "mean error", "worst", "noise", "sd of one seed", "covered")
    for cell in found:
        place = int(np.abs(cell.errors).argmax())
        shown.add_row(
            cell.name, cell.direction, f"{cell.errors.mean():+.1%}", f"{cell.errors[place]:+.1%}",
            f"{np.median(cell.noise):.1%}", f"{cell.spread:.1%}", f"{cell.covered.mean():.0%}",
        )  # fmt: skip
    return shown


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
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
    parser.add_argument("--every", action="store_true", help="list every model")
    return parser.parse_args()


def main() -> None:
    """Parse, predict, measure, print."""
    args = _parsed()
    options = Options(
        seeds=args.seeds, seq_len=args.seq_len, batch=args.batch, device=args.device,
        depth_law=False,
    )  # fmt: skip
    names = ("n_layer", "n_embd", "norm", "activation")
    shapes = itertools.product(args.depths, args.widths, args.norms, args.activations)
    grid = [(dict(zip(names, values, strict=True)), rule)
            for values in shapes for rule in args.rules]  # fmt: skip
    found: list[Cell] = []
    silent: list[str] = []
    console = Console(width=130)
    for shape, rule in track(grid, "measuring", console=Console(stderr=True)):
        full = {**shape, "vocab_size": args.vocab_size, "block_size": max(1024, args.seq_len)}
        try:
            own = list(cells(full, rule, options))
        except UsageError as error:
            own, silent = [], [*silent, str(error)]
        found += own
        if not own:
            silent.append(f"{rule} {shape}")
    console.print(summary(found, f"{args.seeds} seeds, {args.batch} x {args.seq_len} tokens"))
    console.print(worst(found))
    if args.every:
        console.print(every(found))
    console.print(f"{len(silent)} models of which theory says that it does not hold to the end:")
    for name in silent:
        console.print(f"  {name}")


if __name__ == "__main__":
    main()
