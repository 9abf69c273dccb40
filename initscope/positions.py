"""Where a token stands: waves and rotations of every kind, computed anew each time.

A cached buffer would be lost on the meta device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def per_query_head(x: Tensor, heads: int) -> Tensor:
    """Repeat keys or values (B, H_kv, T, D) so that every query head has its own."""
    groups = heads // x.shape[1]
    return x if groups == 1 else x.repeat_interleave(groups, 1)


def waves(tokens: int, count: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (T, count) of positions at frequencies from 1 down to 1/theta."""
    position = torch.arange(tokens, device=device, dtype=torch.float32)
    channel = torch.arange(count, device=device, dtype=torch.float32)
    angle = position[:, None] * torch.exp(channel * (-math.log(theta) / count))
    return angle.cos(), angle.sin()


def rotate(x: Tensor, theta: float, rotated: int = 0) -> Tensor:
    """Rotary position embedding of x (B, H, T, D), halves paired (Su et al. 2021, eq. 34).

    Only the first ``rotated`` features take part, or all of them.
    """
    half = (rotated or x.shape[-1]) // 2
    cos, sin = (wave.to(x.dtype) for wave in waves(x.shape[-2], half, theta, x.device))
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)


def sinusoids(x: Tensor) -> Tensor:
    """Return the position waves (T, C) for a stream x (B, T, C) (Vaswani et al. 2017, §3.5).

    Sines come first, then cosines, as in tensor2tensor; an odd width has one sine more.
    """
    width = x.shape[-1]
    cos, sin = waves(x.shape[-2], -(-width // 2), 10_000.0, x.device)
    return torch.cat([sin, cos], dim=-1)[:, :width].to(x.dtype)


def slopes(heads: int, device: torch.device) -> Tensor:
    """Return ALiBi's slope of each head (H,): 2^(-8·h/H) for h from 1 to a power of two H.

    Any other number of heads takes those of the power below, and then every second one of the
    power above, as the authors' get_slopes does.
    """
    power = 1 << (heads.bit_length() - 1)
    first = torch.arange(1, power + 1, device=device) * (8 / power)
    more = (2 * torch.arange(heads - power, device=device) + 1) * (4 / power)
    return torch.exp2(-torch.cat([first, more]))


def with_distance(q: Tensor, k: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Give queries and keys (B, H, T, D) a feature more, whose product is ALiBi's penalty.

    Each head adds slope·(j - i) to the logit of key j for query i (Press et al. 2022). Softmax
    ignores what all keys of a query share, so slope·j is enough.
    """
    slope = slopes(q.shape[1], q.device) / scale
    column = slope.to(q.dtype)[:, None, None].expand(*q.shape[:-1], 1)
    position = torch.arange(k.shape[2], device=k.device, dtype=k.dtype)[:, None]
    k = per_query_head(k, q.shape[1])
    return torch.cat([q, column], -1), torch.cat([k, position.expand(*k.shape[:-1], 1)], -1)
