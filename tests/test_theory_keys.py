"""Softmax weights of keys that are not all alike, beside drawn samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from initscope.theory.keys import together, weighed
from initscope.theory.positions import positions
from initscope.theory.softmax import responses, softmax

Array = npt.NDArray[np.floating[Any]]

DRAWS, KEYS = 200_000, 12


def weights(deviations: Array, seed: int) -> tuple[Array, Array]:
    """Draw independent logits (draws, keys) of these deviations; return them and their softmax."""
    logits = np.random.default_rng(seed).normal(size=(DRAWS, KEYS)) * deviations
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits, raised / raised.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("tau", [0.3, 1.0, 2.0])
def test_a_key_whose_logit_varies_more_weighs_more(tau: float) -> None:
    more = 0.2  # relative, of one key's variance
    deviations = np.full(KEYS, tau)
    deviations[0] *= math.sqrt(1 + more)
    a = weights(deviations, 2)[1]
    # Each key's, beside the mean of the others: the change in one variance alone.
    mean, square = (np.log(x[:, 0].mean() / x[:, 1:].mean()) for x in (a, a**2))
    weight, squares = (x[0, -1] for x in responses(np.array([float(KEYS)]), [0.0, tau / 2, tau]))
    change = more * tau**2
    noise = 5 * max(x[:, 0].std() / x[:, 0].mean() for x in (a, a**2)) / math.sqrt(DRAWS)
    assert mean == pytest.approx(weight * change / 2, abs=noise + change * more)
    assert square == pytest.approx(2 * squares * change, abs=noise + 2 * change * more)


def test_what_two_keys_share_by_their_positions_is_without_each_itself() -> None:
    """Σ_{j≠k} a_j a_k of doubly centred products, over matrices of tokens."""
    at, random = positions(5), np.random.default_rng(3)  # bins of one position each
    v, k = random.normal(size=(2, 5, 5))
    v, k = v + v.T, k + k.T
    found = together(v[None], k[None], at.attend, at)[0]
    for t in range(1, 5):
        for s in range(1, 5):
            seen = np.ix_(range(t + 1), range(s + 1))
            product = centred(v[seen]) * centred(k[seen])
            apart = product.sum() - np.trace(product)
            pairs = product.size - min(product.shape)
            assert found[t, s] == pytest.approx(apart / pairs)


def centred(x: Array) -> Array:
    """Take away the means over rows and over columns."""
    return x - x.mean(axis=0) - x.mean(axis=1)[:, None] + x.mean()


def test_weights_of_keys_alike_are_uniform_and_of_others_add_up() -> None:
    at = positions(64)
    query = np.full((len(at.start), len(at.start) + 1), 0.5)
    whole = np.ones(len(at.start)), np.ones(len(at.start))
    alike = np.where(at.attend > 0, 1.0, 0.0)
    attend, uneven = weighed(at, alike, np.ones(len(at.start)), query, whole)
    assert attend == pytest.approx(at.attend)
    seen = (at.attend > 0)[at.lower]
    assert uneven[seen] == pytest.approx(1)
    first = alike.copy()
    first[:, 0] *= 3
    attend, _ = weighed(at, first, (at.attend * first).sum(axis=1), query, whole)
    assert attend.sum(axis=1) == pytest.approx(1)
    assert (attend[5:, 0] > 1.2 * at.attend[5:, 0]).all()


def test_heads_that_differ_are_averaged() -> None:
    table = softmax((float(KEYS),))
    row, square = np.zeros((1, 1), np.int64), np.array([[1.0]])
    said = table.average(row, square, np.array([[0.6]]))[0, 0]
    found = [
        (weights(np.full(KEYS, math.sqrt(v)), seed)[1] ** 2).sum(axis=1).mean()
        for seed, v in ((3, 0.4), (4, 1.6))
    ]
    assert said == pytest.approx(np.mean(found), rel=5e-3)
    opposed = table.average(row, np.array([[0.0]]), np.array([[0.5]]))[0, 0]
    logits = np.random.default_rng(5).normal(size=(DRAWS, KEYS)) * math.sqrt(0.5)
    a, b = (np.exp(sign * logits) for sign in (1, -1))
    a, b = (x / x.sum(axis=1, keepdims=True) for x in (a, b))
    halves = ((a * a).sum(axis=1).mean() + (a * b).sum(axis=1).mean()) / 2
    assert opposed == pytest.approx(halves, rel=0.02)
