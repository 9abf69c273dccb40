"""``python -m benchmarks.watch``: what it costs to watch a training loop.

The same GPT is trained in one process in several ways, taking turns a short run at a time, so
that what else the machine does meets all of them alike. A ratio is that of a watched run's time to
the unwatched one's of the same round; the median over the rounds is shown with its quartiles.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from initscope import GPTConfig, build, watch
from initscope.gpt import GPT

PLAIN = "not watched"
Around = Callable[[GPT, int, Path], AbstractContextManager[object]]


def _every(number: int) -> Around:
    """Watch each ``number``-th step of a run; one that is longer continues where the last ended."""
    return lambda model, done, file: watch(model, every=number, start=done, jsonl=file)


def _all_sites(model: GPT, done: int, file: Path) -> AbstractContextManager[object]:
    return watch(model, every=1, start=done, sites="all", jsonl=file)


WAYS: dict[str, Around] = {
    PLAIN: lambda _model, _done, _file: contextlib.nullcontext(),
    "every=100": _every(100),
    "every=1": _every(1),
    "every=1, sites='all'": _all_sites,
}


class Lane(NamedTuple):
    """One way to train: a model with its optimiser, and the seconds of each round."""

    model: GPT
    optimiser: torch.optim.Optimizer
    seconds: list[float]


def lane(args: argparse.Namespace) -> Lane:
    """Build a model; all lanes begin with the same weights."""
    config = GPTConfig(
        n_layer=args.n_layer, n_embd=args.n_embd, block_size=args.tokens,
        vocab_size=args.vocab_size,
    )  # fmt: skip
    model = build(config, "nanogpt", 0).train().to(args.device)
    return Lane(model, torch.optim.AdamW(model.parameters(), lr=3e-4), [])


def train(one: Lane, ids: Tensor, steps: int) -> None:
    """Take some steps of the plainest loop."""
    for _ in range(steps):
        _, loss = one.model(ids[:, :-1], ids[:, 1:])
        assert loss is not None
        loss.backward()
        one.optimiser.step()
        one.optimiser.zero_grad()


def run(args: argparse.Namespace) -> dict[str, Lane]:
    """Let the lanes take turns, each round in another order; the first round warms up."""
    torch.manual_seed(0)
    ids = torch.randint(args.vocab_size, (args.batch, args.tokens + 1), device=args.device)
    lanes = {name: lane(args) for name in args.ways}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.rounds + 1):
            order = list(lanes) if turn % 2 else list(lanes)[::-1]
            for name in order:
                seconds = _timed(lanes[name], WAYS[name], turn, ids, args, Path(folder, "run.jsonl"))
                if turn:
                    lanes[name].seconds.append(seconds)
    return lanes


def _timed(  # noqa: PLR0913, PLR0917 - what a turn is
    one: Lane, way: Around, turn: int, ids: Tensor, args: argparse.Namespace, file: Path
) -> float:
    steps = args.steps
    start = time.perf_counter()
    with way(one.model, turn * steps, file):
        train(one, ids, steps)
    if ids.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def table(lanes: dict[str, Lane], args: argparse.Namespace) -> Table:
    """Set the ways side by side."""
    title = f"{args.n_layer} blocks x {args.n_embd}, {args.batch} x {args.tokens} tokens"
    shown = Table("way", "ms a step", "ratio", "quartiles", title=title)
    plain = lanes[PLAIN].seconds
    for name, one in lanes.items():
        ratios = [seconds / base for seconds, base in zip(one.seconds, plain, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        millis = 1e3 * statistics.median(one.seconds) / args.steps
        shown.add_row(name, f"{millis:.1f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
    return shown


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-layer", type=int, default=6)
    parser.add_argument("--n-embd", type=int, default=384)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--vocab-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4, help="of a turn")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    args = parser.parse_args()
    args.ways = [PLAIN, *(way for way in args.ways if way != PLAIN)]
    Console().print(table(run(args), args))


if __name__ == "__main__":
    main()
