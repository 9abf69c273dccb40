"""Softmax statistics and the bins of positions, beside drawn logits and plain sums."""

from __future__ import annotations

import math

import numpy as np
import pytest

from initscope.theory.keys import contrasted
from initscope.theory.positions import positions
from initscope.theory.softmax import (
    contrast,
    entropy,
    log_normaliser,
    participation,
    softmax,
    together,
)  # fmt: skip

CASES = [(1, 1.0), (2, 0.5), (32, 1.0), (256, 2.0), (300, 4.0), (64, 0.0)]


@pytest.mark.parametrize(("count", "tau"), CASES)
def test_integrals_are_means_over_drawn_softmaxes(count: int, tau: float) -> None:
    logits = tau * np.random.default_rng(count).normal(size=(4000, count))
    log_z = np.log(np.exp(logits).sum(axis=1))
    a = np.exp(logits - log_z[:, None])
    square = (a**2).sum(axis=1)
    n = np.array(float(count))
    for drawn, value in (
        (square, participation(n, tau)),
        (log_z, log_normaliser(n, tau)),
        (square - 2 * (a**3).sum(axis=1) + square**2, contrast(n, tau)),
        (-(a * np.log(np.maximum(a, 1e-300))).sum(axis=1), entropy(n, tau) * math.log(count)),
    ):
        error = drawn.std() / math.sqrt(len(drawn)) + 1e-9
        assert abs(drawn.mean() - float(value)) < 4.5 * error


@pytest.mark.parametrize(("count", "tau"), [(1, 1.0), (2, 0.5), (32, 1.0), (256, 2.0), (300, 4.0)])
def test_two_keys_shift_a_mean_together(count: int, tau: float) -> None:
    along = np.random.default_rng(count).normal(size=(8000, count))
    a = np.exp(tau * along)
    a /= a.sum(axis=1, keepdims=True)
    two, three, four = ((a**power).sum(axis=1) for power in (2, 3, 4))
    shift = ((a * along).sum(axis=1) ** 2 - (a**2 * along**2).sum(axis=1)) / tau**2
    back = 1 - two - 2 * (two - three) + 2 * (two**2 - four)
    for drawn, value in zip((shift, back), together(np.array([count]), [tau]), strict=True):
        error = drawn.std() / math.sqrt(len(drawn)) + 1e-9
        assert abs(drawn.mean() - float(value[0, 0])) < 4.5 * error


@pytest.mark.parametrize(
    ("cosine", "off"), [(0.0, 0.0), (0.5, 0.15), (0.9, 0.15)]
)  # between is taken linear
@pytest.mark.parametrize("tau", [0.3, 2.0])
def test_two_queries_pass_back_less_of_what_their_weights_share(
    tau: float, cosine: float, off: float
) -> None:
    """E tr JJ' of two softmaxes' Jacobians diag(a) - aaᵀ, over keys 1 to 5 and 1 to 8."""
    at, random = positions(8), np.random.default_rng(5)
    logits = random.normal(size=(2, 60_000, 8)) * tau
    logits[1] = cosine * logits[0] + math.sqrt(1 - cosine**2) * logits[1]
    a, b = np.exp(logits)
    a[:, 5:] = 0
    a, b = (one / one.sum(axis=1, keepdims=True) for one in (a, b))
    both = (a * b).sum(axis=1)
    drawn = both - (a**2 * b + a * b**2).sum(axis=1) + both**2
    own = participation(at.seen, tau)
    cosines = np.full((len(own), len(own) + 1), cosine)
    said = both.mean() * contrasted(at, own, contrast(at.seen, tau), cosines)[4, -2]
    assert at.seen[[4, -1]] == pytest.approx([5, 8], abs=0.6)
    sampling = 4 * drawn.std() / math.sqrt(len(drawn))
    assert drawn.mean() == pytest.approx(said, rel=off, abs=sampling)


def test_small_logits_give_the_log_normal_form() -> None:
    n = np.array(1000.0)
    assert participation(n, 0.3) == pytest.approx(math.exp(0.09) / 1000, rel=1e-3)
    assert log_normaliser(n, 0.3) == pytest.approx(math.log(1000) + 0.045, abs=1e-4)


def test_the_table_is_near_the_integral() -> None:
    seen = positions(300).seen
    table, rows = softmax(tuple(seen)), np.arange(len(seen))
    for tau in (0.0, 0.234, 1.07, 2.55, 3.91):
        exact = participation(seen, tau)
        got = table.participation(rows, np.full(len(seen), tau))
        assert got == pytest.approx(exact, rel=5e-3)
        assert table.entropy(np.full(len(seen), tau)) == pytest.approx(entropy(seen, tau), abs=3e-3)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 300])
def test_bins_hold_every_position_once(length: int) -> None:
    at = positions(length)
    assert at.sizes.sum() == length
    assert at.attend.sum(axis=1) == pytest.approx(1)
    assert at.single.sum() == pytest.approx(1)
    assert at.pairs.sum() == pytest.approx(1 if length > 1 else 0)
    assert len(at.start) <= 4 * math.log2(length) + 2
    mean = sum(1 / t for t in range(1, length + 1)) / length
    assert (at.single / at.seen).sum() == pytest.approx(mean)


def test_averages_over_bins_are_those_over_positions() -> None:
    """Attention's uniform average of white tokens, each its own: a kernel of 1/max(t, s)."""
    at = positions(120)
    place = np.arange(1, 121)
    exact = 1 / np.maximum.outer(place, place)
    pairs = exact[~np.eye(120, dtype=bool)].mean()
    assert (at.pairs / at.seen[at.upper[:, :-1]]).sum() == pytest.approx(pairs, rel=0.01)
    received = np.tri(120) / place[:, None]
    for row, start, size in zip(at.gather, at.start, at.sizes, strict=True):
        keys = slice(start, start + int(size))
        assert row.sum() == pytest.approx(received[:, keys].sum(axis=0).mean())


def test_rotation_leaves_little_of_a_common_key_far_away() -> None:
    turned = positions(256).turned(64, 10_000.0)
    assert turned[0, 1] > turned[0, -1] > 0
    assert (turned <= 1).all()
