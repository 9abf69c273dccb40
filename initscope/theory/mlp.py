"""The MLP on kernels, forward and backward (docs/theory.md, §6)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.theory.activations import ACTIVATIONS, Dual
from initscope.theory.gains import Layer
from initscope.theory.kernels import own

Array = npt.NDArray[np.floating[Any]]

# Relative variance of |f|² that attention's value map brings in, times the width.
VALUES = 2.0


class Hidden(NamedTuple):
    """Kernels of the hidden layer; ``gate`` where the MLP has one."""

    up: Array
    gate: Array | None
    dual: Dual
    act: Array


class Returned(NamedTuple):
    """Gradients at the hidden layer's sites, and at the MLP's input."""

    act: Array
    up: Array
    gate: Array | None
    x: Array


def forward(config: GPTConfig, x: Array, layer: Layer) -> Hidden:
    """Map the input's kernel to the hidden layer's."""
    maps = layer.maps
    up = maps["mlp_up"].scale * x + maps["mlp_up"].shift
    if not config.gated:
        dual = _dual(config, up)
        return Hidden(up, None, dual, dual.value)
    gate = maps["mlp_gate"].scale * x + maps["mlp_gate"].shift
    dual = _dual(config, gate)
    return Hidden(up, gate, dual, dual.value * up)


def _dual(config: GPTConfig, kernel: Array) -> Dual:
    square = own(kernel)
    if np.ptp(square) <= 1e-9 * square.max(initial=0.0):
        left = right = square[:1]
    else:
        left, right = square[:, None], np.empty(kernel.shape[1:])
        right[:, :-1], right[:, -1] = square, square
    return ACTIVATIONS[config.activation].dual(left, right, kernel)


def backward(config: GPTConfig, gradient: Array, hidden: Hidden, layer: Layer) -> Returned:
    """Pass back the gradient's kernel at the hidden layer."""
    wider, act = config.d_ff / config.n_embd, gradient
    up_back = layer.maps["mlp_up"].scale * wider
    if hidden.gate is None:
        up = act * hidden.dual.slope
        return Returned(act, up, None, up * up_back)
    up, gate = act * hidden.dual.value, act * hidden.dual.slope * hidden.up
    x = up * up_back + gate * (layer.maps["mlp_gate"].scale * wider)
    return Returned(act, up, gate, x)


def mean(config: GPTConfig, hidden: Hidden) -> Array:
    """Mean of the hidden layer's entries at each position (P,); a gate makes it 0."""
    if hidden.gate is not None:
        return np.zeros(len(hidden.up[0]))
    return ACTIVATIONS[config.activation].mean(own(hidden.up))


def slope(hidden: Hidden, layer: Layer) -> Array:
    """Derivative of the hidden layer's kernel by the input's, for pairs of tokens."""
    maps = layer.maps
    if hidden.gate is None:
        return hidden.dual.slope * maps["mlp_up"].scale
    gated = hidden.dual.slope * maps["mlp_gate"].scale * hidden.up
    return gated + hidden.dual.value * maps["mlp_up"].scale


def roughness(config: GPTConfig, hidden: Hidden) -> float:
    """Relative variance of the hidden layer's mean square, its units being independent."""
    inner = own(hidden.up if hidden.gate is None else hidden.gate)
    peaked = ACTIVATIONS[config.activation].peaked(float(inner.mean()))[0]
    return (peaked * (1 if hidden.gate is None else 3) - 1) / config.d_ff


def roughness_back(config: GPTConfig, hidden: Hidden) -> float:
    """Relative variance of what the hidden units pass back, as :func:`roughness`."""
    inner = own(hidden.up if hidden.gate is None else hidden.gate)
    value, slope = ACTIVATIONS[config.activation].peaked(float(inner.mean()))
    if hidden.gate is None:
        return (slope - 1) / config.d_ff
    # A unit passes back through gate and up, about as much; both are large together.
    root = (math.sqrt(max(value - 1, 0.0)) + math.sqrt(max(3 * slope - 1, 0.0))) / 2
    return root**2 / config.d_ff
