"""How fast this machine draws and multiplies: what a lower bound is made of.

Both are the engine's own primitives at the cell's own sizes, with the same threads: the best of
several goes, so that a bound made of them is a bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from benchmarks.case import Case
from benchmarks.own import synchronise
from initscope.draws import Drawer, Filling
from initscope.rules.core import Draw

GOES = 5
ENTRIES = 1 << 24  # drawn at a time: a block's matrices are of this size, and in no cache


class Rates(NamedTuple):
    """Float32 bytes drawn, and floating-point operations of products, a second."""

    drawn: float
    flops: float

    def faster(self, other: Rates) -> Rates:
        """Return the better of two measurements of each."""
        return Rates(max(self.drawn, other.drawn), max(self.flops, other.flops))


def rates(case: Case) -> Rates:
    """Measure both."""
    return Rates(drawing(case.device), multiplying(case))


def drawing(device: torch.device) -> float:
    """Return the bytes of N(0, 0.02) a second of the engine's own generator."""
    into = torch.empty(ENTRIES, device=device)
    drawer = Drawer(0)
    filling = Filling(into, Draw.normal(0.02), 0, "weight")
    return 4 * ENTRIES / _best(lambda: drawer.fill([filling]), device)


def multiplying(case: Case) -> float:
    """Return the operations a second of the products of a block: C to C, to 4C and back."""
    width, tokens = case.config.n_embd, case.ids.shape[1] - 1
    x = torch.randn(tokens, width, device=case.device)
    best = 0.0
    for fan_out in (width, case.config.d_ff):
        weight = torch.randn(fan_out, width, device=case.device)
        out = torch.empty(tokens, fan_out, device=case.device)
        again = max(1, 10**9 // (2 * tokens * width * fan_out))

        def product(out: torch.Tensor = out, weight: torch.Tensor = weight, n: int = again) -> None:
            for _ in range(n):
                torch.mm(x, weight.T, out=out)

        work = 2 * tokens * width * fan_out * again
        best = max(best, work / _best(product, case.device))
    return best


def _best(run: Callable[[], object], device: torch.device) -> float:
    """Return the least seconds of several goes, after one that warms up."""
    taken = []
    for _ in range(GOES + 1):
        start = time.perf_counter()
        run()
        synchronise(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])
