"""The statistics, as pure tensor functions that never leave the device.

Each reduction returns a small *raw* tensor; :mod:`initscope.readout` finalises it on the host
in float64. Entries are divided by the largest one first, so that neither squares of 1e30 nor
fourth powers of 1e-15 leave float32; moments are taken about the mean, because raw moments
cancel when the mean dominates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_QUERIES = 256  # rows of the attention matrix looked at; evenly spaced
MAX_SCORES = 1 << 22  # attention logits held at a time (16 MiB in float32)


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


def central(x: Scaled, order: int = 4) -> Tensor:
    """Reduce to ``[scale, centre, δ, m2]`` and, at order 4, ``[…, m3, m4]``.

    Moments of all entries about ``centre`` (their mean, up to the rounding error ``δ``, which
    the read-out takes out again), in units of the scale.
    """
    centre = x.values.mean()
    deviation = x.values - centre
    square = deviation.square()
    raw = [x.scale, centre, deviation.mean(), square.mean()]
    if order >= 4:
        raw += [deviation.mul_(square).mean(), square.square_().mean()]
    return torch.stack(raw)


def token_cosine(x: Scaled) -> Tensor:
    """Mean cosine between two different tokens of one sequence; ``values``: (B, T, C), T ≥ 2.

    Uses Σ_{s≠t} u_s·u_t = |Σ u|² - T for unit vectors u. 1 is rank collapse (Dong et al. 2021).
    """
    tokens = x.values.shape[1]
    norm = torch.linalg.vector_norm(x.values, dim=-1, keepdim=True)
    unit = x.values / norm.masked_fill(norm == 0, 1)
    together = unit.sum(dim=1).square().sum(dim=-1)
    alone = unit.square().sum(dim=(1, 2))  # T, less the tokens that are zero
    return ((together - alone) / (tokens * (tokens - 1))).mean()


def share_below(x: Tensor, threshold: float) -> Tensor:
    """Share of entries that are at most ``threshold``."""
    return (x.detach() <= threshold).count_nonzero() / x.numel()


def share_zero(x: Tensor) -> Tensor:
    """Share of entries that are exactly 0."""
    return (x.numel() - x.detach().count_nonzero()) / x.numel()


def attention(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Reduce causal attention to ``[entropy share, variance of the logits over keys]``.

    ``q``: (B, H, T, D), ``k``: (B, H_kv, T, D) as they enter the softmax. At most
    :data:`MAX_QUERIES` queries, evenly spaced and each seeing at least 2 keys, are used. The
    entropy of each row is divided by ln(keys it sees); the logits' variance is taken over the
    keys of each row, because softmax ignores what all keys share.
    """
    q, k = q.detach().flatten(0, 1), _per_query_head(k.detach(), q.shape[1]).flatten(0, 1)
    tokens = q.shape[1]
    rows = _query_rows(tokens, q.device)
    heads = max(1, MAX_SCORES // (len(rows) * tokens))
    parts = [
        _attention_rows(q[i : i + heads, rows].float(), k[i : i + heads].float(), rows, scale)
        for i in range(0, len(q), heads)
    ]
    return torch.cat(parts, dim=1).mean(dim=1)


def _per_query_head(k: Tensor, heads: int) -> Tensor:
    return k if k.shape[1] == heads else k.repeat_interleave(heads // k.shape[1], dim=1)


def _query_rows(tokens: int, device: torch.device) -> Tensor:
    count = min(MAX_QUERIES, tokens - 1)
    return torch.linspace(1, tokens - 1, count, device=device).round().long()


def _attention_rows(q: Tensor, k: Tensor, rows: Tensor, scale: float) -> Tensor:
    """Return (2, heads): entropy share and logit variance; q (heads, R, D), k (heads, T, D)."""
    hidden = torch.arange(k.shape[1], device=k.device) > rows[:, None]
    keys = (rows + 1).float()
    scores = (q @ k.transpose(1, 2)).mul_(scale)
    mean = scores.masked_fill(hidden, 0).sum(-1) / keys
    variance = (scores - mean[..., None]).masked_fill_(hidden, 0).square_().sum(-1) / keys
    log_p = scores.masked_fill_(hidden, -torch.inf).log_softmax(-1)
    entropy = -(log_p.exp() * log_p.masked_fill_(hidden, 0)).sum(-1) / keys.log()
    return torch.stack([entropy.mean(-1), variance.mean(-1)])


class LinearInput:
    """A linear layer's input, kept to give the exact norm of its weight's gradient.

    The gradient of a weight is GᵀX for inputs X (N, fan_in) and output gradients G
    (N, fan_out). Its squared norm is Σ (XXᵀ)∘(GGᵀ): the cheaper of the two orders is taken,
    and XXᵀ is shared by the layers that read the same input (q, k and v).
    """

    def __init__(self, x: Tensor) -> None:
        self.shape = x.flatten(0, -2).shape
        self._input = x
        self._gram: Tensor | None = None
        self._scaled: Scaled | None = None

    @property
    def scaled(self) -> Scaled:
        """The input in float32, divided by its largest entry."""
        if self._scaled is None:
            self._scaled = scaled(self._input.flatten(0, -2))
        return self._scaled

    def gradient_square(self, gradient: Scaled) -> Tensor:
        """Return ``[a, b, a, b, s]`` with ‖GᵀX‖² = a·b·a·b·s; ``gradient.values``: (…, fan_out)."""
        g = gradient.values.flatten(0, -2)
        (n, fan_in), fan_out = self.shape, g.shape[1]
        if n * (fan_in + fan_out) < fan_in * fan_out:
            if self._gram is None:
                self._gram = self.scaled.values @ self.scaled.values.T
            total = total_product(self._gram, g @ g.T)
        else:
            weight_gradient = g.T @ self.scaled.values
            total = total_product(weight_gradient, weight_gradient)
        return factors(self.scaled.scale, gradient.scale, total)


def total_product(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a∘b, accumulated in float64 where the device has it."""
    wide = torch.float32 if a.device.type == "mps" else torch.float64
    return (a * b).sum(dtype=wide)


def factors(a: Tensor, b: Tensor, total: Tensor) -> Tensor:
    """Pack ``(a·b)²·total`` so that nothing overflows before float64."""
    return torch.stack([a, b, a, b, total.to(a.dtype)])


def vector_square(values: Tensor, scale: Tensor) -> Tensor:
    """Pack the squared norm of ``values · scale``."""
    return factors(scale, torch.ones_like(scale), total_product(values, values))


def gain_square(x: Tensor, gradient: Scaled, *, centred: bool, eps: float) -> Tensor:
    """Pack the squared norm of a norm's gain gradient, Σ_t g_t ∘ x̂_t; x (…, C)."""
    x = x.detach().float()
    shape = x.shape[-1:]
    norm = torch.nn.functional.layer_norm if centred else torch.nn.functional.rms_norm
    per_feature = (norm(x, shape, eps=eps) * gradient.values).flatten(0, -2).sum(0)
    return vector_square(per_feature, gradient.scale)
