"""``python -m benchmarks.spread``: how far single seeds lie apart.

What is known of the spread before any seed is measured rests on this: of the depth exponent
:data:`initscope.growth.SPREAD`, which is c of sd = c / sqrt(width), and of a baseline's values
the ``prior`` of each :class:`initscope.baseline.series.Series`.
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
from initscope.baseline import title
from initscope.baseline.series import series_of
from initscope.config import GPTConfig
from initscope.growth import SPREAD, depth_exponent
from initscope.options import Options
from initscope.profile import Profile

RULES = ("nanogpt", "nanogpt-flat", "xavier", "kaiming")
WIDTHS = (64, 128, 256)


class Cell(NamedTuple):
    """A rule at one width.

    ``exponents`` holds one a seed for each direction, ``ratios`` each series' spread between
    seeds, rms over its layers, over its prior.
    """

    rule: str
    width: int
    exponents: dict[str, list[float]]
    ratios: dict[str, float]

    def constant(self, direction: str) -> float:
        """Return the exponent's standard deviation (sample form) times sqrt(width)."""
        return float(np.std(self.exponents[direction], ddof=1)) * math.sqrt(self.width)


def measure(rule: str, width: int, args: argparse.Namespace) -> Cell:
    """Measure a rule at one width."""
    config = GPTConfig(n_layer=args.n_layer, n_embd=width, vocab_size=args.vocab_size)
    profile = inspect(config, rule, Options(seeds=args.seeds, device=args.device))
    exponents = {direction: list(_exponents(profile, direction)) for direction in SPREAD}
    return Cell(rule, width, exponents, dict(_ratios(profile)))


def _exponents(profile: Profile, direction: str) -> Iterator[float]:
    """Fit the depth exponent to each seed alone."""
    for seed in profile.run.seeds:
        rows = profile.table[profile.table["seed"] == seed]
        found = depth_exponent(dataclasses.replace(profile, table=rows), direction)
        assert found is not None, f"{profile.rule} overflowed or was measured at one depth"
        yield found.value


def _ratios(profile: Profile) -> Iterator[tuple[str, float]]:
    for key, series in series_of(profile).items():
        found = series.means()
        assert found is not None, "its own layers were recorded"
        yield title(key), float(np.sqrt(np.mean(found.spread**2))) / series.prior


def exponent_table(cells: list[Cell], widths: list[int], title: str) -> Table:
    """Set a rule's widths side by side: their sd times sqrt(width), and its rms."""
    at = [f"C={width}" for width in widths]
    shown = Table("direction", "rule", "exponent", *at, "rms", "SPREAD", title=title)
    for direction, spread in SPREAD.items():
        for rule in dict.fromkeys(cell.rule for cell in cells):
            chosen = [cell for cell in cells if cell.rule == rule]
            constants = [cell.constant(direction) for cell in chosen]
            exponent = np.mean([cell.exponents[direction] for cell in chosen])
            shown.add_row(
                direction, rule, f"{exponent:.2f}", *(f"{c:.2f}" for c in constants),
                f"{math.sqrt(np.mean(np.square(constants))):.2f}", f"{spread:g}",
            )  # fmt: skip
        shown.add_section()
    return shown


def ratio_table(cells: list[Cell], title: str) -> Table:
    """Set the rules side by side: the largest ratio over the widths."""
    rules = list(dict.fromkeys(cell.rule for cell in cells))
    shown = Table("series", *rules, title=title)
    for name in cells[0].ratios:
        largest = [max(c.ratios[name] for c in cells if c.rule == rule) for rule in rules]
        shown.add_row(name, *(f"{ratio:.2f}" for ratio in largest))
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
    cells = [measure(rule, width, args) for rule, width in running]
    of = f"{args.n_layer} layers, {args.seeds} seeds, vocabulary of {args.vocab_size}"
    console = Console()
    console.print(exponent_table(cells, args.widths, f"sd of the depth exponent · √width: {of}"))
    console.print(ratio_table(cells, f"sd of a baseline's values over their prior: {of}"))


if __name__ == "__main__":
    main()
