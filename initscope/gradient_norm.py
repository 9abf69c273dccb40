"""Norms of parameters' gradients, from a layer's input and its output's gradient alone."""

from __future__ import annotations

from threading import Lock

import torch
from torch import Tensor

from initscope.moments import Scaled, factors, pieces, scaled

STRIPS = 4  # of a symmetric product: 5/8 of the work of the whole
MIN_STRIP = 64  # rows: below it, more calls cost more than they save


class LinearInput:
    """A linear layer's input, kept to give the exact norm of its weight's gradient.

    The gradient of a weight is GᵀX for inputs X (N, fan_in) and output gradients G
    (N, fan_out). Its squared norm is Σ (XXᵀ)∘(GGᵀ): the cheaper of the two orders is taken, and
    XXᵀ is shared by the layers that read the same input (q, k and v).
    """

    def __init__(self, x: Tensor) -> None:
        self.shape = x.flatten(0, -2).shape
        self._input = x
        self._gram: list[Tensor] | None = None
        self._scaled: Scaled | None = None
        self._lock = Lock()  # several layers that read it may be looked at in threads of their own

    @property
    def scaled(self) -> Scaled:
        """The input in float32, divided by its largest entry."""
        with self._lock:
            if self._scaled is None:
                self._scaled = scaled(self._input.flatten(0, -2))
        return self._scaled

    @property
    def gram(self) -> list[Tensor]:
        """XXᵀ of the scaled input in strips, what is off the diagonal doubled for its mirror."""
        x = self.scaled.values
        with self._lock:
            if self._gram is None:
                strips = gram(x)
                for strip in strips:
                    strip[:, len(strip) :].mul_(2)
                self._gram = strips
        return self._gram

    def gradient_square(self, gradient: Scaled) -> Tensor:
        """Return ``[a, b, a, b, s]`` with ‖GᵀX‖² = a·b·a·b·s; ``gradient.values``: (…, fan_out)."""
        g = gradient.values.flatten(0, -2)
        (n, fan_in), fan_out = self.shape, g.shape[1]
        if n * (fan_in + fan_out) < fan_in * fan_out:
            strips = zip(self.gram, gram(g), strict=True)
            total = torch.stack([total_product(*pair) for pair in strips]).sum()
        else:
            weight_gradient = g.T @ self.scaled.values
            total = total_product(weight_gradient, weight_gradient)
        return factors(self.scaled.scale, gradient.scale, total)


def gram(x: Tensor) -> list[Tensor]:
    """XXᵀ of rows X (N, C), in strips of rows that begin at the diagonal."""
    height = max(MIN_STRIP, -(-len(x) // STRIPS))
    return [x[i : i + height] @ x[i:].T for i in range(0, len(x), height)]


def total_product(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a∘b, accumulated in float64 where the device has it."""
    wide = torch.float32 if a.device.type == "mps" else torch.float64
    parts = zip(pieces(a), pieces(b), strict=True)
    return torch.stack([(left * right).sum(dtype=wide) for left, right in parts]).sum()


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
