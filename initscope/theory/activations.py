"""Dual activations: E φ(u)φ(v) and E φ'(u)φ'(v) for normals u, v of given covariance.

ReLU, ReLU² and the exact GELU have closed forms; any other φ has Mehler's expansion in Hermite
polynomials, its coefficients by quadrature (docs/theory.md, §2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.theory.hermite import Expansion

Array = npt.NDArray[np.floating[Any]]
TAU = 2 * np.pi


class Dual(NamedTuple):
    """E φ(u)φ(v) and E φ'(u)φ'(v), of the shape of the covariance."""

    value: Array
    slope: Array


@dataclass(frozen=True)
class Activation:
    """A non-linearity as theory sees it.

    ``dual(a, b, c)`` has Var u = a, Var v = b and Cov(u, v) = c, which broadcast; ``mean(v)`` is
    E φ(u) for Var u = v, ``peaked(v)`` E φ(u)⁴ / (E φ(u)²)² and
    that of the slope.
    """

    dual: Callable[[Array, Array, Array], Dual]
    mean: Callable[[Array], Array]
    peaked: Callable[[float], tuple[float, float]]


def _angle(a: Array, b: Array, c: Array) -> tuple[Array, Array, Array]:
    """Return sqrt(ab), and the cosine and the angle between u and v."""
    size = np.sqrt(a * b)
    cosine = np.clip(c / np.where(size > 0, size, 1.0), -1.0, 1.0)
    return size, cosine, np.arccos(cosine)


def relu(a: Array, b: Array, c: Array) -> Dual:
    """Arc-cosine kernels of order 1 and 0 (Cho & Saul 2009, eqs. 3-6)."""
    size, cosine, angle = _angle(a, b, c)
    value = size / TAU * (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine)
    return Dual(value, (np.pi - angle) / TAU)


def relu2(a: Array, b: Array, c: Array) -> Dual:
    """Arc-cosine kernel of order 2, and 4 times that of order 1, as φ' is 2 relu."""
    size, cosine, angle = _angle(a, b, c)
    sine = np.sqrt(1 - cosine**2)
    second = 3 * sine * cosine + (np.pi - angle) * (1 + 2 * cosine**2)
    first = sine + (np.pi - angle) * cosine
    return Dual(size**2 / TAU * second, 4 * size / TAU * first)


def gelu(a: Array, b: Array, c: Array) -> Dual:
    """x Φ(x): E uv Φ(u)Φ(v) by two integrations by parts, and its derivative in c (Price)."""
    p, q = 1 + a, 1 + b
    root = np.sqrt(p * q)
    determinant = p * q - c * c
    width = np.sqrt(determinant)
    arc = np.arcsin(np.clip(c / root, -1.0, 1.0)) / TAU
    product = a * b - c * c + c * c / p + c * c / q
    value = c / 4 + c * arc + product / (TAU * width)
    bend = (2 / p + 2 / q - 1) * c / width + c * product / determinant / width
    return Dual(value, 0.25 + arc + bend / TAU)


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(x / 2))  # overflows nowhere


def silu(x: Array) -> tuple[Array, Array]:
    """x sigmoid(x), and its derivative."""
    s = _sigmoid(x)
    return x * s, s * (1 + x * (1 - s))


def gelu_tanh(x: Array) -> tuple[Array, Array]:
    """The tanh form of GELU (Hendrycks & Gimpel 2016), and its derivative."""
    root = np.sqrt(2 / np.pi)
    t = np.tanh(root * (x + 0.044715 * x**3))
    inner = root * (1 + 3 * 0.044715 * x**2)
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner


def _expanded(function: Callable[[Array], tuple[Array, Array]]) -> Activation:
    expansion = Expansion(function)
    return Activation(
        lambda a, b, c: Dual(*expansion.dual(a, b, c)), expansion.mean, expansion.peaked
    )


def _relu_mean(v: Array) -> Array:
    return np.sqrt(v / TAU)


def _relu2_mean(v: Array) -> Array:
    return v / 2


def _gelu_mean(v: Array) -> Array:
    return v / np.sqrt(TAU * (1 + v))


def _relu_peaked(_: float) -> tuple[float, float]:
    return 6.0, 2.0


def _relu2_peaked(_: float) -> tuple[float, float]:
    return 70 / 3, 6.0


_SILU = _expanded(silu)
_GELU_TANH = _expanded(gelu_tanh)
_GELU = Activation(gelu, _gelu_mean, _GELU_TANH.peaked)  # the two differ by 0.1 % there

ACTIVATIONS = {
    "gelu": _GELU,
    "gelu_tanh": _GELU_TANH,
    "relu": Activation(relu, _relu_mean, _relu_peaked),
    "relu2": Activation(relu2, _relu2_mean, _relu2_peaked),
    "silu": _SILU,
    "swiglu": _SILU,
    "geglu": _GELU,
}
