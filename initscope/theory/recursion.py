"""From the embedding to the last block, a block or a stride of them at a time.

Up to depth ``EXACT`` every block is taken by itself. Deeper, where a layer changes the stream by
about 1/layer of it, the change of one block in the middle of a stride stands for all of the
stride, the midpoint rule: it errs by the square of the relative change over a stride, at most
``CHANGE`` (docs/theory.md, §11).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.theory.block import Block, Stream, Trace
from initscope.theory.fluctuation import Fluctuation
from initscope.theory.gains import Gains
from initscope.theory.kernels import own

Array = npt.NDArray[np.floating[Any]]

EXACT = 48
CHANGE = 1 / 10
RELAXATION = 1 / 8
RUNAWAY = 2.0  # growth in one block where an MLP adds more than in proportion, norm-free
FEEDBACK = 0.5  # std of the logits, beyond which a norm-free stream's growth feeds on itself
LARGEST = 1e37  # beyond, float32 holds no activation's square


class State(NamedTuple):
    """The stream between two blocks; ``skipped`` is what skips and norms made of the embedding."""

    stream: Stream
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


class Change(NamedTuple):
    """What one block does to the stream: a factor, which without a norm is most of it, and more."""

    moved: Array
    rate: float

    def ahead(self, kernel: Array, blocks: float) -> Array:
        """Return the kernel after several blocks alike."""
        return (kernel + blocks * self.moved) * self.rate**blocks


@dataclass(frozen=True)
class Forward:
    """Every step that theory could take, the stream after them, and why there are no more."""

    steps: list[Step]
    end: State
    remark: str = ""


def forward(block: Block, gains: Gains, state: State) -> Forward:
    """Carry the embedding through all blocks, as far as theory holds."""
    steps: list[Step] = []
    change: Change | None = None
    layer, depth = 0, block.config.n_layer
    while layer < depth:
        size = _stride(gains, layer, depth, state.stream.kernel, change)
        step = _step(block, gains, (layer, layer + size), state, change)
        remark = _limit(block, step)
        if remark:
            return Forward(steps, state, remark)
        steps.append(step)
        state, change = _advance(block, step, state)
        layer += size
    return Forward(steps, state)


def _stride(gains: Gains, layer: int, depth: int, kernel: Array, change: Change | None) -> int:
    """Choose how many blocks to take at once."""
    if layer < EXACT or change is None:
        return 1
    allowed = min((layer - EXACT) // 12, (depth - layer) // 6, _slow(kernel, change))
    size = max(1, allowed)
    while size > 1 and not gains.alike(layer, layer + size):
        size //= 2
    return size


def _slow(kernel: Array, change: Change) -> int:
    """Return over how many blocks the kernel changes little, and tokens' differences too."""
    square, moved = own(kernel), own(change.moved)
    rates = [float((np.abs(moved) / square).max()) / CHANGE]
    apart = square[:, None] - kernel[0, :, :-1]
    turned = np.abs(moved[:, None] - change.moved[0, :, :-1])
    distinct = apart > 1e-4 * square[:, None]
    if distinct.any():
        rates.append(float((turned[distinct] / apart[distinct]).max()) / RELAXATION)
    return int(min(1 / max(*rates, 1e-9), 1e6))


def _step(
    block: Block, gains: Gains, span: tuple[int, int], state: State, change: Change | None
) -> Step:
    """Work out the block in the middle of a span."""
    size, middle = span[1] - span[0], state.stream.kernel
    if change is not None and size > 1:
        middle = change.ahead(middle, (size - 1) / 2)
    trace = block.forward(state.stream._replace(kernel=middle), gains.layer(*span))
    return Step(*span, trace)


def _advance(block: Block, step: Step, state: State) -> tuple[State, Change]:
    """Return the stream after a step, and how one of its blocks changes it."""
    trace = step.trace
    change, after = _change(block, trace), trace.post.stream
    kernel = after.kernel
    if step.size > 1:
        kernel = change.ahead(state.stream.kernel, step.size)
    if block.config.norm == "post":
        kernel[0, :, -1] = own(after.kernel)
    skipped = state.skipped * _skipped(block, trace) ** step.size
    mean = np.multiply(trace.pre.mean, _skips(trace) ** step.size)
    if block.config.norm == "post":
        mean = np.asarray(after.mean)
    return State(Stream(kernel, _moves(block, step, kernel), mean), skipped), change


def _moves(block: Block, step: Step, kernel: Array) -> Fluctuation:
    """Return how the stream fluctuates after a step: in its middle more, in proportion."""
    before, after = step.trace.pre.moves, step.trace.post.stream.moves
    if step.size == 1 or block.config.norm == "post":
        return after
    ratio = block.batch.mean(kernel) / max(block.batch.mean(step.trace.post.stream.kernel), 1e-300)
    if block.config.norm == "none":
        return after.scaled(ratio)
    return before.plus(after.plus(before, -1.0), step.size)


def _change(block: Block, trace: Trace) -> Change:
    before, after = trace.pre.kernel, trace.post.stream.kernel
    if block.config.norm == "none":
        rate = block.batch.mean(after) / max(block.batch.mean(before), 1e-300)
        return Change(after / rate - before, rate)
    moved = after - before
    if block.config.norm == "post":  # the norm restores |x|² at once: a stride would overshoot
        moved[0, :, -1] = 0.0
    return Change(moved, 1.0)


def _skipped(block: Block, trace: Trace) -> float:
    """Return the factor that a block puts on what it found in the stream."""
    factor = _skips(trace)
    if block.config.norm == "post":
        for added in (trace.mid, trace.post):
            assert added.normed is not None
            factor *= float(added.normed.inverse @ block.batch.at.single)
    return factor


def _skips(trace: Trace) -> float:
    return trace.layer.factors.skip_attn * trace.layer.factors.skip_mlp


def _limit(block: Block, step: Step) -> str:
    """Say why theory does not hold in a step's blocks; empty where it does."""
    logit, seen = float(step.trace.mixed.logit[-1]), float(block.batch.at.seen[-1])
    if seen > 1 and logit > math.sqrt(2 * math.log(seen)):
        return (
            f"attention is saturated in layer {step.start}: its logits' std, {logit:.3g}, is "
            f"beyond √(2 ln {seen:.0f})"
        )
    if block.config.norm == "none" and logit > FEEDBACK:
        return (
            f"without a norm attention sharpens as the stream grows: in layer {step.start} its "
            f"logits' std is {logit:.3g}, beyond {FEEDBACK:g}"
        )
    steep = block.config.gated or block.config.activation == "relu2"
    after = step.trace.post.stream.kernel
    growth = block.batch.mean(after) / max(block.batch.mean(step.trace.pre.kernel), 1e-300)
    if block.config.norm == "none" and steep and growth > RUNAWAY:
        return (
            f"without a norm the MLP's product runs away: layer {step.start} multiplies the "
            f"stream's mean square by {growth:.3g}, beyond {RUNAWAY:g}"
        )
    if not own(after).max() < LARGEST:
        return f"the stream leaves float32 in layer {step.start}"
    return ""
