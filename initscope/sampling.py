"""Tensors to samples: one pass, in chunks, on the device where the tensor is."""

from __future__ import annotations

import torch
from torch import Tensor

from initscope.naming import Part
from initscope.origin.sample import Sample

CHUNK = 1 << 22  # entries held in float32 at a time
VECTORS = 64  # rows or columns whose angles are looked at


@torch.no_grad()
def sample(tensor: Tensor, part: Part | None = None, *, rows: bool = False) -> Sample:
    """Reduce a parameter to its statistics.

    Args:
        tensor: the parameter, floating point, on any device.
        part: its share of the tensor; None for all of it.
        rows: whether rows stand for themselves (an embedding), so that one of zeros is padding.
    """
    x = tensor.detach() if part is None else _share(tensor.detach(), part)
    x, zeros = _without_zero_rows(x) if rows and x.dim() == 2 else (x, 0)
    low, high = (edge.item() for edge in torch.aminmax(_computable(x)))
    scale = max(abs(low), abs(high))
    total, square, absolute = _sums(x, scale) if 0 < scale < float("inf") else (0.0, 0.0, 0.0)
    mean = total / x.numel()
    alignment, pairs = _alignment(x) if low < high and x.dim() == 2 else (float("nan"), 0)
    return Sample(
        count=x.numel(), low=low, high=high, mean=mean * scale,
        std=0.0 if low == high else max(square / x.numel() - mean**2, 0.0) ** 0.5 * scale,
        mean_abs=absolute / x.numel() * scale,
        rounding=torch.finfo(tensor.dtype).eps / 2,
        alignment=alignment, pairs=pairs, zero_rows=zeros,
    )  # fmt: skip


def _share(x: Tensor, part: Part) -> Tensor:
    """Return one role's share of a fused tensor, as a matrix or vector of its own."""
    stretches = x.unflatten(part.axis, (part.groups, -1))
    inside = stretches.narrow(part.axis + 1, part.start, part.stop - part.start)
    return inside.flatten(part.axis, part.axis + 1)


def _without_zero_rows(x: Tensor) -> tuple[Tensor, int]:
    kept = _computable(x).any(dim=1)
    zeros = len(kept) - int(kept.count_nonzero())
    return (x[kept], zeros) if 0 < zeros < len(kept) else (x, 0)


def _computable(x: Tensor) -> Tensor:
    """Return a tensor that PyTorch computes with: it does not with 8 bits."""
    return x.float() if x.element_size() == 1 else x


def _sums(x: Tensor, scale: float) -> tuple[float, float, float]:
    """Sum x, its square and its absolute in units of ``scale``; across chunks in float64."""
    total = square = absolute = 0.0
    for chunk in x.reshape(-1).split(CHUNK):
        values = chunk.double() if chunk.dtype == torch.float64 else chunk.float()
        values = values / scale
        total += values.sum().item()
        square += values.square().sum().item()
        absolute += values.abs_().sum().item()
    return total, square, absolute


def _alignment(x: Tensor) -> tuple[float, int]:
    """Return the mean squared cosine between vectors, times their length, and their pairs."""
    vectors = x if x.shape[0] <= x.shape[1] else x.T
    chosen = min(VECTORS, len(vectors))
    picked = torch.linspace(0, len(vectors) - 1, chosen).round().long()
    few = vectors[picked.to(x.device)].float()
    norms = torch.linalg.vector_norm(few, dim=1, keepdim=True)
    unit = few / norms.masked_fill(norms == 0, 1)
    cosines = unit @ unit.T
    pairs = chosen * (chosen - 1) // 2
    if pairs == 0:
        return float("nan"), 0
    together = cosines.triu_(diagonal=1).square().sum().item()
    return together / pairs * few.shape[1], pairs
