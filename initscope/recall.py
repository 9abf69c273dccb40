"""A block's linear maps: shared with idle cores, and not computed again where that is known.

A block is recomputed on the way back. The products of its weights are most of that work, and
their outputs are small beside the weights: a mebibyte kept spares about eight times what it
spares as a part of a block that need not be drawn again. How much is kept is a fixed budget
(:data:`initscope.plan.OUTPUT_BYTES`), so that memory does not grow with depth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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


def product(x: Tensor, matrix: Tensor, crew: Crew, into: Tensor | None = None) -> Tensor:
    """Multiply x (B, T, K) by a matrix (K, N), on the CPU in parts that a crew may take over.

    The signal's way is longer than what lies beside it: a crew that has nothing else to do helps.
    It is cut alike without one, so that nobody changes a bit. ``into``: (B, T, N), to be filled.
    """
    rows, columns = x.flatten(0, -2), matrix.shape[1]
    out = x.new_empty(len(rows), columns) if into is None else into.view(-1, columns)
    width = max(PART, -(-columns // PARTS)) if x.device.type == "cpu" else columns

    def part(first: int) -> None:
        here = slice(first, first + width)
        torch.mm(rows, matrix[:, here], out=out[:, here])

    crew.share([partial(part, first) for first in range(0, columns, width)])
    return out.view(*x.shape[:-1], columns)


class Recalled(nn.Linear):
    """A linear map of a block that may share its work with a ``crew``.

    Without a gradient its output goes ``into`` a place where there is one; with one it may be
    ``known``, or ``unread``. Its weight has no gradient then.
    """

    into: Tensor | None = None
    known: Tensor | None = None
    unread = False
    crew: Crew | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, fan_in) -> (B, T, fan_out)."""
        if self.crew is None:
            return super().forward(x)
        known = self.known
        if known is None and not self.unread:
            known = product(x.detach(), self.weight.T, self.crew, self.into)
            known = known if self.bias is None else known.add_(self.bias)
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


def places(like: Tensor, widths: Mapping[str, int], layers: range) -> dict[int, Outputs]:
    """Make room for layers' outputs (B, T, width): one memory, or the heap would fragment.

    ``like``: (B, T, C), for the shape, the dtype and the device.
    """
    shape = like.shape[:-1]
    sizes = [shape.numel() * width for width in widths.values()]
    rooms = like.new_empty(len(layers), sum(sizes)).split(sizes, dim=1)
    named = dict(zip(widths, rooms, strict=True))
    return {
        layer: {name: room[place].view(*shape, -1) for name, room in named.items()}
        for place, layer in enumerate(layers)
    }


@contextmanager
def told(
    block: nn.Module, crew: Crew, *, into: Outputs | None = None, known: Outputs | None = None,
    nobody_reads: Collection[str] = (),
) -> Iterator[None]:  # fmt: skip
    """Tell a block's linear maps who helps, and where outputs go, are known, or are not needed."""
    parts = recalled(block)
    into, known = into or {}, known or {}
    for name, part in parts.items():
        part.crew, part.into, part.known = crew, into.get(name), known.get(name)
        part.unread = name in nobody_reads
    try:
        yield
    finally:
        for part in parts.values():
            part.crew, part.into, part.known, part.unread = None, None, None, False
