"""A block's linear maps: shared with idle cores, and not computed again where that is known.

A block is recomputed on the way back. The products of its weights are most of that work, and
their outputs are small beside the weights: a mebibyte kept spares about eight times what it
spares as a part of a block that need not be drawn again. How much is kept is bounded by a fixed
budget and by the size of the working blocks, so that memory does not grow with depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from initscope.config import GPTConfig
from initscope.crew import Crew

PARTS = 4  # of a product
PART = 512  # columns at least: smaller products are slower ones

Outputs = dict[str, Tensor]  # of a block's linear maps, by their names


class _Known(torch.autograd.Function):
    """A linear map whose output is known, or is read by nobody: only its gradient is computed."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        weight: Tensor,
        known: Tensor | None,
        crew: Crew,
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.crew = crew
        return x.new_zeros(*x.shape[:-1], len(weight)) if known is None else known.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        """Return the gradient of x alone."""
        (weight,) = ctx.saved_tensors
        return product(gradient, weight, ctx.crew), None, None, None


def product(x: Tensor, matrix: Tensor, crew: Crew) -> Tensor:
    """Multiply x (B, T, K) by a matrix (K, N), on the CPU in parts that a crew may take over.

    The signal's way is longer than what lies beside it: a crew that has nothing else to do helps.
    It is cut alike without one, so that nobody changes a bit.
    """
    if x.device.type != "cpu":
        return x @ matrix
    rows, columns = x.flatten(0, -2), matrix.shape[1]
    out = x.new_empty(len(rows), columns)
    width = max(PART, -(-columns // PARTS))

    def part(first: int) -> None:
        here = slice(first, first + width)
        torch.mm(rows, matrix[:, here], out=out[:, here])

    crew.share([partial(part, first) for first in range(0, columns, width)])
    return out.view(*x.shape[:-1], columns)


class Recalled(nn.Linear):
    """A linear map of a block that may share its work with a ``crew``.

    Its output may be ``known``, or ``unread`` in backward; its weight has no gradient then.
    """

    known: Tensor | None = None
    unread = False
    crew: Crew | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, fan_in) -> (B, T, fan_out)."""
        if self.crew is None:
            return super().forward(x)
        known = self.known
        if known is None and not self.unread:
            known = product(x.detach(), self.weight.T, self.crew)
            known = known if self.bias is None else known + self.bias
        if not torch.is_grad_enabled():
            assert known is not None, "what nobody reads is for the gradient alone"
            return known
        return _Known.apply(x, self.weight, known, self.crew)


def unread(config: GPTConfig) -> frozenset[str]:
    """Return the linear maps whose outputs the gradient does not need (a norm would read them)."""
    return frozenset({"mlp_down"} if config.norm in {"pre", "none"} else ())


def recalled(block: nn.Module) -> dict[str, Recalled]:
    """Return the linear maps of a block by their names."""
    return {name: part for name, part in block.named_children() if isinstance(part, Recalled)}


@contextmanager
def noted(block: nn.Module, outputs: Outputs, besides: frozenset[str]) -> Iterator[None]:
    """Copy the outputs of a block's linear maps, ``besides`` some, while it runs."""

    def note(name: str, _module: nn.Module, _args: object, output: Tensor) -> None:
        outputs[name] = output.detach().clone()

    parts = {name: part for name, part in recalled(block).items() if name not in besides}
    handles = [part.register_forward_hook(partial(note, name)) for name, part in parts.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def told(
    block: nn.Module, crew: Crew, outputs: Outputs, nobody_reads: frozenset[str]
) -> Iterator[None]:
    """Tell a block's linear maps who helps, which outputs are known, and which are not needed."""
    parts = recalled(block)
    for name, part in parts.items():
        part.crew, part.known, part.unread = crew, outputs.get(name), name in nobody_reads
    try:
        yield
    finally:
        for part in parts.values():
            part.crew, part.known, part.unread = None, None, False
