"""Outputs of linear maps that forward keeps for backward: they need not be computed again.

A block is recomputed on the way back. The products of its weights are most of that work, and
their outputs are small beside the weights: a mebibyte kept spares about eight times what it
spares as a part of a block that need not be drawn again. How much is kept is bounded by a fixed
budget and by the size of the working blocks, so that memory does not grow with depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from initscope.config import GPTConfig

Outputs = dict[str, Tensor]  # of a block's linear maps, by their names


class _Known(torch.autograd.Function):
    """A linear map whose output is known, or is read by nobody: only its gradient is computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, known: Tensor | None) -> Tensor:  # noqa: ANN401 - as torch has it
        """x: (B, T, fan_in), weight: (fan_out, fan_in) -> (B, T, fan_out), zeros if not known."""
        ctx.save_for_backward(weight)
        return x.new_zeros(*x.shape[:-1], len(weight)) if known is None else known.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        """Return the gradient of x alone."""
        (weight,) = ctx.saved_tensors
        return gradient @ weight, None, None


class Recalled(nn.Linear):
    """A linear map of a block, whose output may be ``known``, or ``unread`` in backward."""

    known: Tensor | None = None
    unread = False

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, fan_in) -> (B, T, fan_out)."""
        if self.known is None and not self.unread:
            return super().forward(x)
        return _Known.apply(x, self.weight, self.known)


def unread(config: GPTConfig) -> frozenset[str]:
    """Return the linear maps whose outputs the gradient does not need (a norm would read them)."""
    return frozenset({"mlp_down"} if config.norm in {"pre", "none"} else ())


def recalled(block: nn.Module) -> dict[str, Recalled]:
    """Return the linear maps of a block by their names."""
    return {name: part for name, part in block.named_children() if isinstance(part, Recalled)}


@contextmanager
def noted(block: nn.Module, outputs: Outputs, besides: frozenset[str]) -> Iterator[None]:
    """Copy the outputs of a block's linear maps, ``besides`` some, while it runs."""

    def note(name: str) -> Any:  # noqa: ANN401 - a hook
        def hook(_module: nn.Module, _args: object, output: Tensor) -> None:
            outputs[name] = output.detach().clone()

        return hook

    parts = {name: part for name, part in recalled(block).items() if name not in besides}
    handles = [part.register_forward_hook(note(name)) for name, part in parts.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def told(block: nn.Module, outputs: Outputs, nobody_reads: frozenset[str]) -> Iterator[None]:
    """Tell a block's linear maps which outputs are known, and which are not needed."""
    parts = recalled(block)
    for name, part in parts.items():
        part.known, part.unread = outputs.get(name), name in nobody_reads
    try:
        yield
    finally:
        for part in parts.values():
            part.known, part.unread = None, False
