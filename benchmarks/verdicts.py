"""``python -m benchmarks.verdicts``: the verdict of every rule, by depth and norm placement.

The rest of the architecture is the rule's own.
"""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.progress import track
from rich.table import Table

from initscope.decide import decide
from initscope.errors import UsageError
from initscope.judging import judge
from initscope.options import Options
from initscope.rules import RULES, config_for


def cell(rule: str, depth: int, norm: str, args: argparse.Namespace) -> str:
    """Return the class of stream and gradient, what else is wrong, and the stream's exponent."""
    shape = {"n_layer": depth, "n_embd": args.n_embd, "vocab_size": args.vocab_size, "norm": norm}
    try:
        config = config_for(rule, **shape)
    except UsageError:  # an architecture that has no such norm
        return "–"
    options = Options(seeds=args.seeds, seq_len=128)
    verdict = decide(config, rule, options, judge, max_seeds=args.max_seeds).verdict
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
    parser.add_argument("--vocab-size", type=int, default=50304)
    parser.add_argument("--seeds", type=int, default=3, help="the fewest taken")
    parser.add_argument("--max-seeds", type=int, default=8, help="the most, to decide")
    args = parser.parse_args()
    table = Table(
        "rule",
        "layers",
        *args.norms,
        title=f"width {args.n_embd}: stream / gradient, seeds from {args.seeds}",
    )
    for rule in track(args.rules, "rules", console=Console(stderr=True), transient=True):
        for depth in args.depths:
            cells = [cell(rule, depth, norm, args) for norm in args.norms]
            table.add_row(rule, str(depth), *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
