"""``python -m benchmarks.finals``: the final residual variance by rule and depth."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from initscope.config import GPTConfig
from initscope.options import Options
from initscope.sweep import inspect


def final(rule: str, depth: int, width: int, seeds: int) -> str:
    """Return the mean and the standard error over seeds."""
    once = Options(seeds=seeds, depth_law=False, forward_only=True)
    values = inspect(GPTConfig(n_layer=depth, n_embd=width), rule, once).stream().iloc[-1]
    return f"{values.mean():.4g} ± {values.std() / seeds**0.5:.2g}"


def main() -> None:
    """Print a row a rule, a column a depth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[12, 48, 192])
    parser.add_argument("--rules", nargs="+", default=["nanogpt", "nanogpt-flat", "xavier"])
    parser.add_argument("--n-embd", type=int, default=768)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    title = f"final residual variance, width {args.n_embd}, {args.seeds} seeds"
    table = Table("rule", *(f"{depth} layers" for depth in args.depths), title=title)
    for rule in args.rules:
        cells = [final(rule, depth, args.n_embd, args.seeds) for depth in args.depths]
        table.add_row(rule, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
