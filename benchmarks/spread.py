"""``python -m benchmarks.spread``: how far the depth exponent varies between single seeds.

The prior of :data:`initscope.growth.SPREAD` rests on this: the standard deviation over seeds,
times sqrt(width), is about the same for every rule and width.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from initscope import inspect
from initscope.config import GPTConfig
from initscope.growth import SPREAD, depth_exponent
from initscope.options import Options
from initscope.profile import Profile

RULES = ("nanogpt", "nanogpt-flat", "xavier", "kaiming")
WIDTHS = (64, 128, 256)


class Cell(NamedTuple):
    """The exponents of single seeds, of one rule at one width, in one direction."""

    rule: str
    width: int
    direction: str
    exponents: tuple[float, ...]

    @property
    def spread(self) -> float:
        """Standard deviation between seeds (sample form)."""
        return float(np.std(self.exponents, ddof=1))

    @property
    def constant(self) -> float:
        """The spread times sqrt(width)."""
        return self.spread * math.sqrt(self.width)


def exponents(profile: Profile, direction: str) -> Iterator[float]:
    """Fit the depth exponent to each seed alone."""
    for seed in profile.run.seeds:
        rows = profile.table[profile.table["seed"] == seed]
        found = depth_exponent(dataclasses.replace(profile, table=rows), direction)
        assert found is not None, f"{profile.rule} overflowed or was measured at one depth"
        yield found.value


def measure(rule: str, width: int, args: argparse.Namespace) -> list[Cell]:
    """Measure a rule at one width, in both directions."""
    config = GPTConfig(n_layer=args.n_layer, n_embd=width, vocab_size=args.vocab_size)
    profile = inspect(config, rule, Options(seeds=args.seeds, device=args.device))
    return [Cell(rule, width, way, tuple(exponents(profile, way))) for way in SPREAD]


def table(cells: list[Cell], title: str) -> Table:
    """List every cell, then what all of one direction have in common."""
    shown = Table("direction", "rule", "width", "exponent", "sd", "sd · √width", title=title)
    for direction in SPREAD:
        chosen = [cell for cell in cells if cell.direction == direction]
        for cell in chosen:
            shown.add_row(
                direction, cell.rule, str(cell.width), f"{np.mean(cell.exponents):.2f}",
                f"{cell.spread:.3f}", f"{cell.constant:.2f}",
            )  # fmt: skip
        constants = np.array([cell.constant for cell in chosen])
        shown.add_row(direction, "rms of all", "", "", "", f"{np.sqrt((constants**2).mean()):.2f}")
        shown.add_row(direction, "largest", "", "", "", f"{constants.max():.2f}")
        shown.add_section()
    return shown


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-layer", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--vocab-size", type=int, default=512)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    args = parser.parse_args()
    grid = [(rule, width) for rule in args.rules for width in args.widths]
    running = track(grid, "measuring", console=Console(stderr=True))
    cells = [cell for rule, width in running for cell in measure(rule, width, args)]
    title = f"{args.n_layer} layers, {args.seeds} seeds, vocabulary of {args.vocab_size}"
    Console().print(table(cells, title))


if __name__ == "__main__":
    main()
