"""Dual activations: closed forms beside quadrature, and beside drawn normals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from initscope.theory.activations import ACTIVATIONS, gelu_tanh, silu
from initscope.theory.hermite import Expansion

Array = npt.NDArray[np.floating[Any]]
Pair = tuple[Array, Array]

PAIRS = [(0.3, 0.3, 0.5), (2.0, 0.7, 0.9), (1.0, 1.0, 1.0), (5.0, 5.0, -0.4), (0.01, 9.0, 0.0)]


def gelu(x: Array) -> Pair:
    normal = 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return x * normal, normal + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def relu(x: Array) -> Pair:
    return np.maximum(x, 0), (x > 0).astype(float)


def relu2(x: Array) -> Pair:
    return np.maximum(x, 0) ** 2, 2 * np.maximum(x, 0)


PLAIN: dict[str, Callable[[Array], Pair]] = {
    "gelu": gelu, "gelu_tanh": gelu_tanh, "relu": relu, "relu2": relu2, "silu": silu,
}  # fmt: skip


def both(name: str, a: float, b: float, rho: float) -> tuple[float, float]:
    covariance = rho * math.sqrt(a * b)
    dual = ACTIVATIONS[name].dual(np.array(a), np.array(b), np.array(covariance))
    return float(dual.value), float(dual.slope)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_gelu_s_closed_form_is_its_quadrature(pair: tuple[float, float, float]) -> None:
    a, b, rho = pair
    c = np.array(rho * math.sqrt(a * b))
    expected = Expansion(gelu).dual(np.array(a), np.array(b), c)
    assert both("gelu", *pair) == pytest.approx([float(x) for x in expected], rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_duals_are_means_over_drawn_normals(name: str, pair: tuple[float, float, float]) -> None:
    a, b, rho = pair
    generator = np.random.default_rng(PAIRS.index(pair))
    first, second = generator.normal(size=(2, 100_000))
    u = math.sqrt(a) * first
    v = math.sqrt(b) * (rho * first + math.sqrt(1 - rho**2) * second)
    for drawn, value in zip(
        (x * y for x, y in zip(PLAIN[name](u), PLAIN[name](v), strict=True)),
        both(name, *pair),
        strict=True,
    ):
        error = drawn.std() / math.sqrt(len(drawn))
        assert abs(drawn.mean() - value) < 4.5 * error


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("variance", [0.01, 1.0, 30.0])
def test_means_are_means_over_drawn_normals(name: str, variance: float) -> None:
    drawn = PLAIN[name](math.sqrt(variance) * np.random.default_rng(3).normal(size=100_000))[0]
    error = drawn.std() / math.sqrt(len(drawn))
    assert abs(drawn.mean() - ACTIVATIONS[name].mean(np.array(variance))) < 4.5 * error


@pytest.mark.parametrize("name", ["silu", "gelu_tanh"])
@pytest.mark.parametrize("variance", [1e-3, 1.0, 100.0, 3000.0])
def test_quadrature_has_converged(name: str, variance: float) -> None:
    """Against the same rule on ten times as many nodes."""
    z = np.linspace(-10, 10, 10_001)
    weight = np.exp(-(z**2) / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    fine = float((PLAIN[name](math.sqrt(variance) * z)[0] ** 2) @ weight)
    assert both(name, variance, variance, 1.0)[0] == pytest.approx(fine, rel=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_is_the_value_s_derivative_in_the_covariance(name: str) -> None:
    step = 1e-5
    low, high = (both(name, 1.3, 1.3, rho) for rho in (0.4 - step, 0.4 + step))
    derivative = (high[0] - low[0]) / (2 * step * 1.3)
    assert both(name, 1.3, 1.3, 0.4)[1] == pytest.approx(derivative, rel=1e-6)


def test_duals_take_a_variance_for_each_position() -> None:
    variances = np.array([0.5, 1.0, 2.0])
    c = 0.3 * np.sqrt(np.multiply.outer(variances, variances))
    for name in ("gelu", "silu"):
        dual = ACTIVATIONS[name].dual(variances[:, None], variances, c)
        assert dual.value[0, 2] == pytest.approx(both(name, 0.5, 2.0, 0.3)[0])
        assert dual.slope[2, 1] == pytest.approx(both(name, 2.0, 1.0, 0.3)[1])
