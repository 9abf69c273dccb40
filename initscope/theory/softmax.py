"""What a softmax over n independent normal logits does: exact one-dimensional integrals.

With Z the sum of n exponentials of N(0, τ²) logits, and f(l) = E exp(-l e^s),

    E Σ a²  = n ∫ l E[e^{2s - l e^s}] f(l)^{n-1} dl,      E ln Z = ∫ (e^{-l} - f(l)^n) dl / l

from 1/Z² = ∫ l e^{-lZ} dl and Frullani's integral; higher powers alike (docs/theory.md, §4).
Small τ gives e^{τ²}/n, the log-normal approximation of the literature; beyond sqrt(2 ln n) one
logit takes all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

STEP = 0.1  # of the table in τ: linear between its columns, the logarithm is within 0.3 %
FROZEN = 12.0  # beyond, 1 - E Σ a² falls as 1/τ and E ln Z grows in proportion to τ
LARGEST = 4.5  # its last τ: sqrt(2 ln n), where attention freezes, for 25,000 keys

_Z = np.linspace(-9.0, 9.0, 181)
_DENSITY = np.exp(-(_Z**2) / 2) * (_Z[1] - _Z[0]) / np.sqrt(2 * np.pi)
_LOG_STEP = 0.25


class _Transforms(NamedTuple):
    """On a grid of ln l: f(l) = E exp(-l e^s), and E[(l e^s)^k exp(-l e^s)] for k = 2, 3, 4."""

    log_l: Array
    once: Array
    powers: dict[int, Array]


@lru_cache(maxsize=128)
def _transforms(tau: float) -> _Transforms:
    reach = 8 * tau + 4
    log_l = np.arange(-reach - 24, reach + 4, _LOG_STEP)
    log_product = np.minimum(log_l[:, None] + tau * _Z, 7.0)  # exp(-e^7) is 0
    product = np.exp(log_product)
    sums = {k: np.exp(k * log_product - product) @ _DENSITY for k in (0, 2, 3, 4)}
    return _Transforms(log_l, np.maximum(sums.pop(0), 1e-300), sums)


def participation(count: Array, tau: float) -> Array:
    """E Σ a² of softmax weights a over ``count`` independent N(0, τ²) logits: 1/count at τ = 0.

    ``count`` may be fractional (a bin's mean) and is at least 1, where it is 1.
    """
    n = np.asarray(count, float)[..., None]
    return 1 - (1 - _power_sum(n, min(tau, FROZEN), 2)) * min(1.0, FROZEN / max(tau, FROZEN))


def _power_sum(n: Array, tau: float, power: int) -> Array:
    """E Σ a^power; n has a last axis of 1."""
    _, once, powers = _transforms(tau)
    whole = (n * powers[power] * once ** (n - 1)).sum(axis=-1) * _LOG_STEP
    return whole / math.factorial(power - 1)


def _pair_sum(n: Array, tau: float) -> Array:
    """E Σ_{j≠k} a_j² a_k²; n has a last axis of 1."""
    _, once, powers = _transforms(tau)
    pairs = (n * (n - 1) * powers[2] ** 2 * once ** np.maximum(n - 2, 0)).sum(axis=-1)
    return pairs * _LOG_STEP / math.factorial(3)


def contrast(count: Array, tau: float) -> Array:
    """E Σ a²(1 - 2a + Σ a²): what of Σ a² a softmax passes back, (1 - 1/n)/n at τ = 0.

    It is the mean square of Σ_j a_j (β_j - Σ a β) κ_j for independent β and κ of unit variance.
    """
    n = np.asarray(count, float)[..., None]
    both = _power_sum(n, tau, 4) + _pair_sum(n, tau)
    return np.maximum(_power_sum(n, tau, 2) - 2 * _power_sum(n, tau, 3) + both, 0.0)


def responses(count: Array, taus: Sequence[float]) -> tuple[Array, Array]:
    """What keys that are not all alike do, two (counts, taus), 1 for small τ and many keys.

    Twice ∂ ln E a_j / ∂τ_j² and half ∂ ln E a_j² / ∂τ_j², for one key's variance over the mean of
    all: by parts, from E Σ a², Σ a³ and Σ a⁴.
    """
    n = np.asarray(count, float)[:, None]
    two, three, four = (
        np.stack([_power_sum(n, tau, power) for tau in taus], axis=1) for power in (2, 3, 4)
    )
    others = np.where(n > 1, n / np.maximum(n - 1, 1e-9), 0.0)
    mean = others * (1 - 3 * two + 2 * three)
    squares = others * (1 - (2.5 * three - 1.5 * four) / two)
    return mean, squares


def together(count: Array, taus: Sequence[float]) -> tuple[Array, Array]:
    """What a softmax passes of two keys that covary, two (counts, taus), 1 for small τ, many keys.

    Forward E Σ_{j≠k} a_j a_k s_j s_k / τ² with s the logits over τ: how two keys along one query
    shift the mean. Back E Σ_{j≠k} a_j a_k (1 - a_j - a_k + 2 a_j a_k). Both by parts.
    """
    n = np.asarray(count, float)[:, None]
    two, three = (np.stack([_power_sum(n, tau, power) for tau in taus], axis=1) for power in (2, 3))
    pairs = np.stack([_pair_sum(n, tau) for tau in taus], axis=1)
    return 1 - 5 * two + 4 * three + 6 * pairs, 1 - 3 * two + 2 * three + 2 * pairs


def log_normaliser(count: Array, tau: float) -> Array:
    """E ln Σ e^s over ``count`` independent N(0, τ²) logits: ln(count) + τ²/2 for small τ."""
    log_l, once, _ = _transforms(min(tau, FROZEN))
    n = np.asarray(count, float)[..., None]
    total = (np.exp(-np.exp(log_l)) - once**n).sum(axis=-1) * _LOG_STEP
    if tau > FROZEN:  # its derivative is τ (1 - E Σ a²), which no longer changes
        total = total + (tau - FROZEN) * FROZEN * (1 - participation(count, FROZEN))
    return total


def entropy(count: Array, tau: float) -> Array:
    """Mean entropy over ln(count): E ln Z - τ² (1 - E Σ a²), by parts; 1 for a single logit."""
    n = np.asarray(count, float)
    spread = log_normaliser(n, tau) - tau**2 * (1 - participation(n, tau))
    return np.where(n > 1, spread / np.log(np.maximum(n, 1.5)), 1.0)


class Softmax:
    """Participation and entropy for a set of key counts, tabled over τ.

    ``seen`` (P,): the keys that each bin of queries sees.
    """

    def __init__(self, seen: Array) -> None:
        self._seen = seen
        taus = [float(tau) for tau in np.arange(0.0, LARGEST + STEP / 2, STEP)]
        columns = np.stack([participation(seen, tau) for tau in taus], axis=1)
        self._log = np.log(np.clip(columns, 1 / seen[:, None], 1.0))
        self._contrast = np.stack([contrast(seen, tau) for tau in taus], axis=1)
        self._mean_weight, self._own_weight = responses(seen, taus)
        self._shift, self._back = together(seen, taus)
        self._entropy = np.stack([entropy(seen, tau) for tau in taus], axis=1)
        self._last = len(taus) - 2

    def _at(self, table: Array, row: npt.NDArray[np.int64], tau: Array) -> Array:
        place = tau * (1 / STEP)
        low = np.minimum(place.astype(np.int64), self._last)
        left = table[row, low]
        return left + (place - low) * (table[row, low + 1] - left)

    def participation(self, row: npt.NDArray[np.int64], tau: Array) -> Array:
        """E Σ a² for the key count of ``row`` at τ."""
        return np.exp(self._at(self._log, row, tau))

    def average(self, row: npt.NDArray[np.int64], square: Array, spread: Array) -> Array:
        """Average the participation over variances ``spread`` above and below ``square``.

        Below 0, where two queries' logits oppose each other, it is the inverse of that above.
        """
        above = self.participation(row, np.sqrt(square + spread))
        less = square - spread
        below = self.participation(row, np.sqrt(np.abs(less)))
        inverse = 1 / (self._seen[row] ** 2 * below)
        return (above + np.where(less < 0, inverse, below)) / 2

    def contrast(self, tau: Array) -> Array:
        """:func:`contrast` for each row at its τ (P,)."""
        return self._at(self._contrast, np.arange(len(tau)), tau)

    def responses(self, tau: Array) -> tuple[Array, Array]:
        """:func:`responses` for each row at its τ, two (P,)."""
        return self._shares(tau, self._mean_weight, self._own_weight)

    def together(self, tau: Array) -> tuple[Array, Array]:
        """:func:`together` for each row at its τ, two (P,)."""
        return self._shares(tau, self._shift, self._back)

    def _shares(self, tau: Array, one: Array, other: Array) -> tuple[Array, Array]:
        rows = np.arange(len(tau))
        left, right = (np.clip(self._at(table, rows, tau), 0.0, 1.0) for table in (one, other))
        return left, right

    def entropy(self, tau: Array) -> Array:
        """Mean entropy over ln(keys) for each row at its τ (P,)."""
        return self._at(self._entropy, np.arange(len(tau)), tau)


@lru_cache(maxsize=16)
def softmax(seen: tuple[float, ...]) -> Softmax:
    """Return the table for these key counts, built once."""
    return Softmax(np.array(seen))
