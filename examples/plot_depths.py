"""Draw the residual stream at several depths: ``python examples/plot_depths.py depths.png``.

A rule whose lines end at one height is bounded in depth; one whose lines end higher the deeper
the model is grows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from initscope import GPTConfig, Options, inspect


def main() -> None:
    """Measure one rule at each depth and save the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rule", default="nanogpt")
    parser.add_argument("--depths", type=int, nargs="+", default=[6, 12, 24, 48])
    parser.add_argument("--n-embd", type=int, default=256)
    args = parser.parse_args()
    figure = Figure(layout="constrained")
    axes = figure.add_subplot(
        yscale="log", xlabel="share of the depth", ylabel="residual variance (x²)", title=args.rule
    )
    once = Options(depth_law=False, forward_only=True)
    for depth in args.depths:
        config = GPTConfig(n_layer=depth, n_embd=args.n_embd)
        curve = inspect(config, args.rule, once).stream().mean(axis=1)
        axes.plot((curve.index + 1) / depth, curve, marker=".", label=f"{depth} layers")
    axes.legend(frameon=False)
    figure.savefig(args.file, dpi=200)


if __name__ == "__main__":
    main()
