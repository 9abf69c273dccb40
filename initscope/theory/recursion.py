"""From the embedding to the last block and back, a block or a stride of them at a time.

Up to depth ``EXACT`` every block is taken by itself. Deeper, where a layer changes the stream by
about 1/layer of it, the change of one block in the middle of a stride stands for all of the
stride, the midpoint rule: it errs by the square of the relative change over a stride, at most
``CHANGE`` (docs/theory.md, §10).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.theory.block import Block, Gradients, Trace
from initscope.theory.gains import Gains
from initscope.theory.kernels import own

Array = npt.NDArray[np.floating[Any]]

EXACT = 96
CHANGE = 1 / 16
RELAXATION = 1 / 8
LARGEST = 1e37  # beyond, float32 holds no activation's square


class State(NamedTuple):
    """The stream between two blocks.

    ``rough`` is the excess variance of |x|², ``skipped`` the factor that skips and norms have
    put on the embedding so far.
    """

    kernel: Array
    rough: float
    skipped: float


class Step(NamedTuple):
    """Blocks ``start`` to ``stop`` (exclusive), and the kernels of the one in their middle."""

    start: int
    stop: int
    trace: Trace

    @property
    def size(self) -> int:
        """How many blocks."""
        return self.stop - self.start

    @property
    def place(self) -> float:
        """Layer of the middle: a whole number for a single block."""
        return (self.start + self.stop - 1) / 2


@dataclass(frozen=True)
class Forward:
    """Every step that theory could take, the stream after them, and why there are no more."""

    steps: list[Step]
    end: State
    remark: str = ""


def forward(block: Block, gains: Gains, kernel: Array) -> Forward:
    """Carry the embedding's kernel through all blocks, as far as theory holds."""
    state, steps, change = State(kernel, 0.0, 1.0), [], None
    layer, depth = 0, block.config.n_layer
    while layer < depth:
        size = _stride(gains, layer, depth, state.kernel, change)
        step, state, change = _advance(block, gains, (layer, layer + size), state, change)
        remark = _limit(block, step)
        if remark:
            return Forward(steps, state, remark)
        steps.append(step)
        layer += size
    return Forward(steps, state)


def _stride(gains: Gains, layer: int, depth: int, kernel: Array, change: Array | None) -> int:
    """Choose how many blocks to take at once."""
    if layer < EXACT or change is None:
        return 1
    allowed = min((layer - EXACT) // 24, (depth - layer) // 8, _slow(kernel, change))
    size = max(1, allowed)
    while size > 1 and not gains.alike(layer, layer + size):
        size //= 2
    return size


def _slow(kernel: Array, change: Array) -> int:
    """Return over how many blocks the kernel changes little, and tokens' differences too."""
    square, moved = own(kernel), own(change)
    rates = [float((np.abs(moved) / square).max()) / CHANGE]
    apart = square[:, None] - kernel[0, :, :-1]
    turned = np.abs(moved[:, None] - change[0, :, :-1])
    distinct = apart > 1e-4 * square[:, None]
    if distinct.any():
        rates.append(float((turned[distinct] / apart[distinct]).max()) / RELAXATION)
    return int(min(1 / max(*rates, 1e-9), 1e6))


def _advance(
    block: Block, gains: Gains, span: tuple[int, int], state: State, change: Array | None
) -> tuple[Step, State, Array]:
    size = span[1] - span[0]
    middle = state.kernel
    if change is not None and size > 1:
        middle = middle + change * ((size - 1) / 2)
    trace = block.forward(middle, state.rough, gains.layer(*span))
    moved = trace.post.stream - middle
    kernel = trace.post.stream if size == 1 else state.kernel + size * moved
    skipped = state.skipped * _skipped(block, trace) ** size
    rough = block.rough_after(trace.post)
    return Step(*span, trace), State(kernel, rough, skipped), moved


def _skipped(block: Block, trace: Trace) -> float:
    """Return the factor that a block puts on what it found in the stream."""
    factor = trace.layer.factors.skip_attn * trace.layer.factors.skip_mlp
    if block.config.norm == "post":
        for added in (trace.mid, trace.post):
            assert added.normed is not None
            factor *= float(added.normed.inverse @ block.batch.at.single)
    return factor


def _limit(block: Block, step: Step) -> str:
    """Say why theory does not hold in a step's blocks; empty where it does."""
    logit, seen = float(step.trace.mixed.logit[-1]), float(block.batch.at.seen[-1])
    if seen > 1 and logit > math.sqrt(2 * math.log(seen)):
        return (
            f"attention is saturated in layer {step.start}: its logits' std, {logit:.3g}, is "
            f"beyond √(2 ln {seen:.0f})"
        )
    if not own(step.trace.post.stream).max() < LARGEST:
        return f"the stream leaves float32 in layer {step.start}"
    return ""


def backward(
    block: Block, steps: list[Step], gradient: Array
) -> Iterator[tuple[Step, Gradients, float]]:
    """Carry the gradient's kernel back to the embedding.

    Yields each step with its gradients and the factor that belongs to them: a stride's are those
    of its end, and grow to the middle by it.
    """
    fresh = 1.0
    for step in reversed(steps):
        found = block.backward(gradient, fresh, step.trace)
        before, after = block.batch.mean(gradient), block.batch.mean(found.pre)
        rate = after / before if before > 0 else 1.0
        yield step, found, rate ** ((step.size - 1) / 2)
        gradient, fresh = _retreat(block, step, gradient, found, rate), found.fresh


def _retreat(
    block: Block, step: Step, gradient: Array, found: Gradients, rate: float
) -> Array:
    """Pass the gradient through all blocks of a step: its size as a power, its shape linearly."""
    if step.size == 1 or rate <= 0:
        return found.pre
    turned = found.pre / rate - gradient
    if np.abs(turned).max() * step.size <= 0.3 * np.abs(gradient).max():
        return rate**step.size * (gradient + step.size * turned)
    gradient, fresh = found.pre, found.fresh
    for _ in range(step.size - 1):
        again = block.backward(gradient, fresh, step.trace)
        gradient, fresh = again.pre, again.fresh
    return gradient
