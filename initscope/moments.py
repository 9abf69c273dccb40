"""The statistics, as pure tensor functions that never leave the device.

Each reduction returns a small *raw* tensor; :mod:`initscope.readout` finalises it on the host
in float64. Entries are divided by the largest one first, so that neither squares of 1e30 nor
fourth powers of 1e-15 leave float32; moments are taken about the mean, because raw moments
cancel when the mean dominates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from initscope.positions import per_query_head

MAX_QUERIES = 256  # rows of the attention matrix looked at; evenly spaced
# Entries reduced at a time. Threads that share a reduction hold their part and its square in caches
# of their own. One that is alone does better with longer calls, which leave others Python's lock.
PIECE = {"cpu": 1 << 18}
LONG_PIECE = {"cpu": 1 << 19}
DEVICE_PIECE = 1 << 24
SAFE_STD = 1e-6, 1e6  # between them, fourth powers of what is drawn stay in float32


class Scaled(NamedTuple):
    """A tensor as ``values · scale`` with |values| ≤ 1; float32 or wider."""

    values: Tensor
    scale: Tensor


def scaled(x: Tensor) -> Scaled:
    """Divide by the largest absolute entry; a tensor of zeros keeps scale 0.

    An infinite or NaN entry makes the scale infinite or NaN, which marks the overflow.
    """
    x = x.detach()
    x = x if x.dtype in {torch.float32, torch.float64} else x.float()
    low, high = torch.aminmax(x)
    scale = torch.maximum(low.neg(), high)
    return Scaled(x / scale.masked_fill(scale == 0, 1), scale)


def piece_size(device: torch.device) -> int:
    """Return how many entries a device reduces at a time."""
    known = LONG_PIECE if torch.get_num_threads() == 1 else PIECE
    return known.get(device.type, DEVICE_PIECE)


def pieces(x: Tensor) -> tuple[Tensor, ...]:
    """Split all entries into flat pieces, whose moments the read-out merges."""
    return x.detach().reshape(-1).split(piece_size(x.device))


def central(x: Scaled, order: int = 4) -> Tensor:
    """Reduce to ``[scale, mean, m2]`` and, at order 4, ``[…, m3, m4]``.

    Central moments of all entries, in units of the scale. The mean's rounding error, some
    1e-7 of the largest entry, enters m2 squared: less than float32 could have told apart.
    """
    mean = x.values.mean()
    deviation = (x.values - mean).reshape(-1)
    if order < 4:
        return torch.stack([x.scale, mean, deviation.square_().mean()])
    square = deviation.square()
    m2, m3 = square.mean(), deviation.mul_(square).mean()
    return torch.stack([x.scale, mean, m2, m3, square.square_().mean()])


def powers(x: Tensor, std: float) -> Tensor:
    """Reduce entries drawn about 0 with a known ``std`` to ``[unit, max, mean, p2, p3, p4]``.

    The largest absolute entry and the means of powers, in units that keep fourth powers in
    float32: without the two passes that scale and centre what nothing is known of.
    """
    x = x.detach().float()
    unit = 1.0 if SAFE_STD[0] < std < SAFE_STD[1] else std
    x = x if unit == 1 else x / unit
    low, high = torch.aminmax(x)
    square = x.square()
    p2, p3 = square.mean(), (x * square).mean()
    one, largest = torch.full_like(low, unit), torch.maximum(low.neg(), high)
    return torch.stack([one, largest, x.mean(), p2, p3, square.square_().mean()])


def square(x: Tensor) -> Tensor:
    """Pack the sum of squares of a piece as :func:`factors` does."""
    values, scale = scaled(x)
    return factors(scale, torch.ones_like(scale), values.square().sum())


def factors(a: Tensor, b: Tensor, total: Tensor) -> Tensor:
    """Pack ``(a·b)²·total`` so that nothing overflows before float64."""
    return torch.stack([a, b, a, b, total.to(a.dtype)])


def token_cosine(x: Scaled) -> Tensor:
    """Mean cosine between two different tokens of one sequence; ``values``: (B, T, C), T ≥ 2.

    1 is rank collapse (Dong et al. 2021).
    """
    return mean_cosine(*unit_sums(x), x.values.shape[1])


def unit_sums(x: Scaled) -> tuple[Tensor, Tensor]:
    """Sum the tokens as unit vectors u, (B, C), and their |u|², (B,); ``values``: (B, T, C).

    The sum is a product of the tokens with the reciprocals of their norms.
    """
    norm = torch.linalg.vector_norm(x.values, dim=-1)
    inverse = norm.reciprocal().masked_fill(norm == 0, 0)
    return (inverse[:, None] @ x.values)[:, 0], (norm * inverse).sum(dim=1)


def mean_cosine(together: Tensor, alone: Tensor, tokens: int) -> Tensor:
    """Mean cosine from :func:`unit_sums`, by Σ_{s≠t} u_s·u_t = |Σ u|² - Σ |u|².

    The last is the number of tokens, less those that are zero.
    """
    return ((together.square().sum(dim=-1) - alone) / (tokens * (tokens - 1))).mean()


def share_below(x: Tensor, threshold: float) -> Tensor:
    """Share of entries that are at most ``threshold``."""
    return _share(x, lambda part, out: torch.le(part, threshold, out=out))


def share_zero(x: Tensor) -> Tensor:
    """Share of entries that are exactly 0."""
    return _share(x, lambda part, out: torch.eq(part, 0, out=out))


def _share(x: Tensor, test: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Share of entries that pass; 0 and 1 as float32 add up faster than booleans."""
    parts = pieces(x)
    passed = torch.empty_like(parts[0], dtype=torch.float32)
    return torch.stack([test(part, passed[: len(part)]).sum() for part in parts]).sum() / x.numel()


def attention(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Reduce causal attention to ``[entropy share, variance of the logits over keys]``.

    ``q``: (B, H, T, D), ``k``: (B, H_kv, T, D) as they enter the softmax. At most
    :data:`MAX_QUERIES` queries, evenly spaced and each seeing at least 2 keys, are used. The
    entropy of each row is divided by ln(keys it sees); the logits' variance is taken over the
    keys of each row, because softmax ignores what all keys share.
    """
    q, k = q.detach().flatten(0, 1), per_query_head(k.detach(), q.shape[1]).flatten(0, 1)
    tokens = q.shape[1]
    rows = _query_rows(tokens, q.device)
    seen = (torch.arange(tokens, device=q.device) <= rows[:, None]).float()
    heads = max(1, piece_size(q.device) // seen.numel())
    parts = [
        _attention_rows(q[i : i + heads, rows].float() * scale, k[i : i + heads].float(), seen)
        for i in range(0, len(q), heads)
    ]
    return torch.cat(parts, dim=1).mean(dim=1)


def _query_rows(tokens: int, device: torch.device) -> Tensor:
    count = min(MAX_QUERIES, tokens - 1)
    return torch.linspace(1, tokens - 1, count, device=device).round().long()


def _attention_rows(q: Tensor, k: Tensor, seen: Tensor) -> Tensor:
    """Return (2, heads): entropy share and logit variance.

    ``q``: (heads, R, D), scaled; ``k``: (heads, T, D); ``seen``: (R, T), 1 for the keys that a
    query sees and else 0. The entropy of p ∝ exp(s) is ln Σ exp(s) - Σ s·exp(s) / Σ exp(s), for
    logits s less their largest.
    """
    keys = seen.sum(-1)
    scores = q @ k.transpose(1, 2)
    mean = (scores * seen).sum(-1, keepdim=True) / keys[:, None]
    scores.sub_(mean).mul_(seen)
    variance = scores.square().sum(-1) / keys
    scores.sub_(scores.amax(-1, keepdim=True))  # a hidden key's 0 is never above the largest
    weights = scores.exp().mul_(seen)
    total = weights.sum(-1)
    entropy = total.log() - weights.mul_(scores).sum(-1) / total
    return torch.stack([(entropy / keys.log()).mean(-1), variance.mean(-1)])
