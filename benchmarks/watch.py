"""``python -m benchmarks.watch``: what it costs to watch a training loop.

The same GPT is trained in one process in several ways, which take turns a few steps at a time, so
that what else the machine does meets all of them alike. A ratio is that of a way's time to the
unwatched one's of the same round, and the median over the rounds is shown with its quartiles;
beside it that of the processor's time, which neighbours on a busy machine hardly lengthen.

A run watched at ``every=n`` is n - 1 steps between for each one that is watched: ``every=100`` is
worked out from those two. What the first step costs besides, to find the model's parts and to
load what judges a profile, is shown by itself: it is paid once a run.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from initscope import GPTConfig, build, watch
from initscope.gpt import GPT

Around = Callable[[GPT, Path], AbstractContextManager[object]]
PLAIN, BETWEEN, WATCHED = "not watched", "a step between", "every=1"
NEVER = 10**9

WAYS: dict[str, Around] = {
    PLAIN: lambda _model, _file: contextlib.nullcontext(),
    BETWEEN: lambda model, file: watch(model, every=NEVER, jsonl=file),
    WATCHED: lambda model, file: watch(model, every=1, jsonl=file),
    "every=1, no verdict": lambda model, file: watch(
        model, every=1, jsonl=file, on_verdict=None
    ),
    "every=1, sites='all'": lambda model, file: watch(model, every=1, jsonl=file, sites="all"),
}  # fmt: skip


class Lane(NamedTuple):
    """One way to train: a model with its optimiser, and the seconds a step of each round."""

    model: GPT
    optimiser: torch.optim.Optimizer
    wall: list[float]
    busy: list[float]


def lane(args: argparse.Namespace) -> Lane:
    """Build a model; all lanes begin with the same weights."""
    config = GPTConfig(
        n_layer=args.n_layer, n_embd=args.n_embd, block_size=args.tokens,
        vocab_size=args.vocab_size,
    )  # fmt: skip
    model = build(config, "nanogpt", 0).train().to(args.device)
    return Lane(model, torch.optim.AdamW(model.parameters(), lr=3e-4), [], [])


def train(one: Lane, ids: Tensor, steps: int) -> None:
    """Take some steps of the plainest loop, and keep the seconds that one took."""
    start, busy = time.perf_counter(), time.process_time()
    for _ in range(steps):
        _, loss = one.model(ids[:, :-1], ids[:, 1:])
        assert loss is not None
        loss.backward()
        one.optimiser.step()
        one.optimiser.zero_grad()
    if ids.is_cuda:
        torch.cuda.synchronize()
    one.wall.append((time.perf_counter() - start) / steps)
    one.busy.append((time.process_time() - busy) / steps)


def run(args: argparse.Namespace) -> dict[str, Lane]:
    """Let the lanes take turns, every other round in reverse; the first step of each is apart."""
    torch.manual_seed(0)
    ids = torch.randint(args.vocab_size, (args.batch, args.tokens + 1), device=args.device)
    lanes = {name: lane(args) for name in args.ways}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for number, (name, one) in enumerate(lanes.items()):
            stack.enter_context(WAYS[name](one.model, Path(folder, f"{number}.jsonl")))
        for turn in range(args.rounds + 1):
            for one in list(lanes.values())[:: 1 if turn % 2 else -1]:
                train(one, ids, args.steps if turn else 1)
    return lanes


def table(lanes: dict[str, Lane], args: argparse.Namespace) -> Table:
    """Set the ways side by side."""
    title = f"{args.n_layer} blocks x {args.n_embd}, {args.batch} x {args.tokens} tokens"
    shown = Table(
        "way", "ms a step", "ratio", "quartiles", "CPU ratio", "first step, ms", title=title
    )
    walls = {name: _ratios(one.wall, lanes[PLAIN].wall) for name, one in lanes.items()}
    busy = {name: _ratios(one.busy, lanes[PLAIN].busy) for name, one in lanes.items()}
    for name, one in lanes.items():
        low, middle, high = statistics.quantiles(walls[name], n=4)
        first, *rest = (1e3 * seconds for seconds in one.wall)
        shown.add_row(
            name, f"{statistics.median(rest):.1f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}",
            f"{statistics.median(busy[name]):.3f}", f"{first:.0f}",
        )  # fmt: skip
    if {BETWEEN, WATCHED} <= lanes.keys():
        shown.add_row("every=100", "", f"{_hundredth(walls):.3f}", "", f"{_hundredth(busy):.3f}")
    return shown


def _ratios(one: list[float], plain: list[float]) -> list[float]:
    return [seconds / base for seconds, base in zip(one[1:], plain[1:], strict=True)]


def _hundredth(ratios: dict[str, list[float]]) -> float:
    """Return the ratio of 99 steps between and one that is watched."""
    between, watched = (statistics.median(ratios[name]) for name in (BETWEEN, WATCHED))
    return (99 * between + watched) / 100


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-layer", type=int, default=6)
    parser.add_argument("--n-embd", type=int, default=384)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--vocab-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3, help="of a turn")
    parser.add_argument("--rounds", type=int, default=12, help="two or more")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    args = parser.parse_args()
    args.ways = [PLAIN, *(way for way in args.ways if way != PLAIN)]
    Console(width=100).print(table(run(args), args))


if __name__ == "__main__":
    main()
