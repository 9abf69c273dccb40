"""What a model needs to be measured, whole or block by block, before any of it is allocated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from initscope.anatomy import find_blocks
from initscope.construction import Allocation
from initscope.devices import free_bytes
from initscope.errors import MeasurementError
from initscope.options import Options

GIB = 2**30
COPIES = 3  # of the largest parameter: its gradient, and float32 copies for its statistics
LOGITS = 4  # their tensor, their logarithms, and the gradients of both


@dataclass(frozen=True, kw_only=True)
class Room:
    """Bytes that a measurement takes at its peak, whole and with one block at a time.

    ``built`` is what the host takes while the model's constructor runs. Activations are an
    estimate, each projection's input and output: attention that is not fused keeps more.
    """

    weights: int
    activations: int
    built: int
    weights_by_block: int
    activations_by_block: int

    @property
    def whole(self) -> int:
        """What the whole model takes."""
        return self.weights + self.activations

    @property
    def by_block(self) -> int:
        """What one block at a time takes."""
        return self.weights_by_block + self.activations_by_block


def room(
    model: nn.Module, blocks: str, tokens: int, options: Options, allocation: Allocation
) -> Room:
    """Estimate what a model takes, with its weights on the meta device or not."""
    item = allocation.dtype.itemsize
    found = [list(module.parameters()) for _, module in find_blocks(model, blocks)]
    everything = list(model.parameters())
    inside = {id(p) for block in found for p in block}
    outside = [p for p in everything if id(p) not in inside]
    largest = max(map(_entries, found))
    statistics = COPIES * max(p.numel() for p in everything) * 4
    ends = tokens * LOGITS * max((max(p.shape) for p in outside if p.dim() > 1), default=0)
    kept = [tokens * _features(block) for block in found]
    between = 0 if options.forward_only else tokens * _width(found) * len(found)
    return Room(
        weights=_entries(everything) * item + statistics,
        activations=((max(kept) if options.forward_only else sum(kept)) + ends) * item,
        built=_entries(everything) * torch.get_default_dtype().itemsize,
        weights_by_block=(_entries(outside) + largest) * item + statistics,
        activations_by_block=(max(kept) + between + ends) * item,
    )


def _entries(parameters: Iterable[nn.Parameter]) -> int:
    return sum({id(p): p.numel() for p in parameters}.values())


def _features(block: Iterable[nn.Parameter]) -> int:
    """Count what a token's activations in a block come to: all inputs and outputs."""
    return sum(sum(p.shape[-2:]) for p in block if p.dim() > 1)


def _width(blocks: Iterable[Iterable[nn.Parameter]]) -> int:
    """Return the stream's width: the commonest length of a matrix's side."""
    sides = Counter(n for block in blocks for p in block if p.dim() > 1 for n in p.shape[-2:])
    return sides.most_common(1)[0][0] if sides else 0


@dataclass(frozen=True)
class Limit:
    """What a model may take: what is free, or less where ``allowed`` says so (0 says nothing)."""

    target: str
    at: Allocation
    allowed: int = 0

    def holds(self, needed: Room, *, drawn: bool) -> bool:
        """Whether a model can be measured whole; False where one block at a time can.

        ``drawn`` weights are those that its constructor draws, on the host.

        Raises:
            MeasurementError: where neither can.
        """
        free, host = self._free(self.at.device), self._free(torch.device("cpu"))
        if _within(needed.whole, free) and (not drawn or _within(needed.built, host)):
            return True
        if _within(needed.by_block, free):
            return False
        raise MeasurementError(
            f"{self.says(needed)}, where one block at a time takes {_size(needed.by_block)}: a "
            "smaller --seq-len or --batch, --forward-only or --dtype bfloat16 needs less"
        )

    def says(self, needed: Room) -> str:
        """Say what is needed and what there is."""
        free = self._free(self.at.device)
        word = "allowed" if free == self.allowed else "free"
        there = "" if free is None else f", and {_size(free)} are {word}"
        return (
            f"{self.target} needs about {_size(needed.whole)} on {self.at.device} "
            f"({_size(needed.weights)} for weights, {_size(needed.activations)} for "
            f"activations){there}"
        )

    def _free(self, device: torch.device) -> int | None:
        free = free_bytes(device)
        limits = [size for size in (free, self.allowed or None) if size is not None]
        return min(limits, default=None)


def _within(needed: int, free: int | None) -> bool:
    return free is None or needed <= free


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
