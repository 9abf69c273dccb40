"""From the last block back to the embedding, a block or a stride of them at a time.

Over a stride of blocks alike a gradient grows as a power, its shape changes linearly; the middle
of the stride stands for all of it (docs/theory.md, §11).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.theory.block import Block, Trace
from initscope.theory.recursion import Step
from initscope.theory.returning import Gradients, Returning, Way

Array = npt.NDArray[np.floating[Any]]

TURN = 1.0  # of a mean square: moves no gradient by a thousandth, at 10,000 layers


class Return(NamedTuple):
    """A layer on the way back (a stride's middle): its kernels and gradients.

    ``blocks`` is how many it stands for, ``spread`` the variance of ln of the gradient's mean
    square behind them.
    """

    place: float
    blocks: int
    trace: Trace
    gradients: Gradients
    spread: float

    @property
    def start(self) -> float:
        """How many blocks come before."""
        return self.place - (self.blocks - 1) / 2


def backward(block: Block, steps: list[Step], gradient: Array, way: Way) -> Iterator[Return]:
    """Carry the gradient's kernel back to the embedding, from the last layer to the first."""
    returning = Returning(block)
    for step in reversed(steps):
        last = step.stop - 1
        while last >= step.start:
            found, at = returning.backward(gradient, way, step.trace), way
            size = min(last - step.start + 1, _steady(block, gradient, found))
            if size == 1:
                gradient = found.pre
            else:
                at = _further(way, way, found.way, (size - 1) / 2)
                middle = _powered(block, gradient, gradient, found, (size - 1) / 2)
                found = returning.backward(middle, at, step.trace)
                gradient = _powered(block, gradient, middle, found, size)
            way = _further(way, at, found.way, size)
            yield Return(
                last - (size - 1) / 2, size, step.trace, found._replace(way=way), at.spread
            )
            last -= size


def _turned(block: Block, gradient: Array, found: Gradients) -> tuple[float, Array]:
    """Return by how much a block multiplies a gradient's size, and changes its shape."""
    before, after = block.batch.mean(gradient), block.batch.mean(found.pre)
    if before <= 0 or after <= 0:
        return 0.0, np.zeros_like(gradient)
    return after / before, found.pre / after - gradient / before


def _steady(block: Block, gradient: Array, found: Gradients) -> int:
    """Return over how many blocks alike a gradient's shape changes little."""
    change = float(np.abs(_turned(block, gradient, found)[1]).max())
    return max(1, int(min(TURN / max(change, 1e-9), 1e6)))


def _further(way: Way, before: Way, after: Way, blocks: float) -> Way:
    """Return the way after several blocks, each of which does to it what one did."""
    lever = way.lever.plus(after.lever, blocks).plus(before.lever, -blocks)
    spread = way.spread + blocks * (after.spread - before.spread)
    kept = after.repeats / before.repeats if before.repeats > 0 else 0.0
    return Way(after.fresh, lever, spread, way.repeats * kept**blocks)


def _powered(block: Block, gradient: Array, at: Array, found: Gradients, times: float) -> Array:
    """Pass a gradient through a block several times: its size as a power, its shape linearly.

    ``found`` is what the block makes of the gradient ``at``.
    """
    rate, turned = _turned(block, at, found)
    return rate**times * (gradient + times * block.batch.mean(gradient) * turned)
