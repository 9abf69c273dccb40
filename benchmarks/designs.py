"""``python -m benchmarks.designs``: do measured runs of designed rules hit what they were made for?

For each design: target, theory's prediction, the mean of single seeds in logs, their scatter
beside theory's own spread (:data:`initscope.designing.quantities.LOUD` covers the ratio of the
two), and the share of single seeds inside the band that ``initscope design`` prints.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from initscope import Options, Profile, Targets, design, inspect
from initscope.designing import quantities
from initscope.growth import final_values
from initscope.rules import config_for

_LLAMA = {"activation": "swiglu", "norm_kind": "rmsnorm", "positions": "rope", "tied": False}
# A base, its architecture, and what it is to have.
DESIGNS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("nanogpt", {}, {"final_variance": 1.0}),
    ("nanogpt", {}, {"gradient_ratio": 1.5}),
    ("nanogpt", {}, {"final_variance": 1.0, "gradient_ratio": 2.0, "attention_share": 0.5}),
    ("nanogpt", {"norm": "sandwich"}, {"final_variance": 1.0}),
    ("xavier", _LLAMA, {"growth": 3.0}),
    ("nanogpt", {"norm": "post"}, {"gradient_ratio": 1.5}),
    ("nanogpt", {"norm": "none"}, {"growth": 3.0}),
)


class Cell(NamedTuple):
    """One quantity of one design, over single seeds."""

    design: str
    quantity: str
    predicted: float
    measured: npt.NDArray[np.float64]
    spread: float
    band: tuple[float, float]

    @property
    def row(self) -> list[str]:
        """The cells of the table."""
        logs = np.log(self.measured)
        sd, low, high = float(logs.std(ddof=1)), *self.band
        inside = ((low <= self.measured) & (self.measured <= high)).mean()
        return [
            self.design, quantities.SHOWN[self.quantity], f"{self.predicted:.3g}",
            f"{math.exp(logs.mean()):.3g}", f"{sd:.1%}", f"{self.spread:.1%}",
            f"{sd / self.spread:.2f}",
            "-" if math.isnan(low) else f"{inside:.0%}",
        ]  # fmt: skip


def cells(
    base: str, fields: dict[str, Any], targets: dict[str, Any], args: argparse.Namespace
) -> Iterator[Cell]:
    """Design a rule, measure it under several seeds, and yield what is targeted of it."""
    shape = {"n_layer": args.n_layer, "n_embd": args.n_embd, "vocab_size": args.vocab_size}
    config = config_for(base, **{**shape, **fields})
    options = Options(seeds=args.seeds, seq_len=args.seq_len, depth_law=False)
    found = design(config, base, Targets(**targets), options)
    measured = inspect(config, found.rule, options)
    where = f"{base}, norm {config.norm}{', llama' * ('activation' in fields)}"
    for name in targets:
        if name in {"final_variance", "growth", "gradient_ratio"}:
            yield Cell(
                where, name, quantities.value(found.predicted, name), per_seed(measured, name),
                quantities.spread(found.predicted, name, config.n_layer),
                quantities.expected(found.predicted, name),
            )  # fmt: skip


def per_seed(profile: Profile, name: str) -> npt.NDArray[np.float64]:
    """Return a quantity under each seed."""
    direction = "backward" if name == "gradient_ratio" else "forward"
    last = final_values(profile, direction).to_numpy(float)[-1]
    if name != "growth":
        return last
    return last / profile.select("embed", "forward", "variance").to_numpy(float)[0]


def main() -> None:
    """Parse, design, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-layer", type=int, default=12)
    parser.add_argument("--n-embd", type=int, default=128)
    parser.add_argument("--vocab-size", type=int, default=512)
    parser.add_argument("--seq-len", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=24)
    args = parser.parse_args()
    table = Table(
        "design", "quantity", "predicted", "measured", "scatter", "theory's", "ratio", "in band",
        title=f"{args.n_layer} layers of width {args.n_embd}, {args.seeds} seeds",
    )  # fmt: skip
    for one in track(DESIGNS, console=Console(stderr=True)):
        for cell in cells(*one, args):
            table.add_row(*cell.row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
