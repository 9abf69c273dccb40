"""``python -m benchmarks.verdicts``: the verdict of every rule, by depth and norm placement."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from initscope.config import GPTConfig
from initscope.decide import decide
from initscope.judging import judge
from initscope.options import Options
from initscope.rules import RULES


def cell(rule: str, depth: int, norm: str, width: int) -> str:
    """Return the class of stream and gradient, what else is wrong, and the stream's exponent."""
    config = GPTConfig.from_dict({"n_layer": depth, "n_embd": width, "norm": norm})
    verdict = decide(config, rule, Options(seeds=3, seq_len=128), judge).verdict
    exponent = next(f for f in verdict.findings if f.name == "depth-exponent")
    alpha = "" if exponent.value is None else f" α {exponent.value:.2f}"
    return "\n".join([f"{verdict.word}{alpha}", *verdict.traits])


def main() -> None:
    """Print a row a rule and depth, a column a norm placement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[12, 48, 96])
    parser.add_argument("--norms", nargs="+", default=["pre", "post", "none"])
    parser.add_argument("--rules", nargs="+", default=list(RULES))
    parser.add_argument("--n-embd", type=int, default=128)
    args = parser.parse_args()
    table = Table("rule", "layers", *args.norms, title=f"width {args.n_embd}: stream / gradient")
    for rule in args.rules:
        for depth in args.depths:
            cells = [cell(rule, depth, norm, args.n_embd) for norm in args.norms]
            table.add_row(rule, str(depth), *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
