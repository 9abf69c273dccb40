"""What a softmax over n independent normal logits does: exact one-dimensional integrals.

With Z the sum of n exponentials of N(0, τ²) logits, and f(l) = E exp(-l e^s),

    E Σ a²  = n ∫ l E[e^{2s - l e^s}] f(l)^{n-1} dl,      E ln Z = ∫ (e^{-l} - f(l)^n) dl / l

from 1/Z² = ∫ l e^{-lZ} dl and Frullani's integral (docs/theory.md, §4). Small τ gives e^{τ²}/n,
the log-normal approximation of the literature; beyond sqrt(2 ln n) one logit takes all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

STEP = 0.1  # of the table in τ: linear between its columns, the logarithm is within 0.3 %
LARGEST = 4.5  # its last τ: sqrt(2 ln n), where attention freezes, for 25,000 keys

_Z = np.linspace(-9.0, 9.0, 181)
_DENSITY = np.exp(-(_Z**2) / 2) * (_Z[1] - _Z[0]) / np.sqrt(2 * np.pi)
_LOG_STEP = 0.25


class _Transforms(NamedTuple):
    """f(l) and E[e^{2s - l e^s}] l², each on a grid of ln l."""

    log_l: Array
    once: Array
    twice: Array


@lru_cache(maxsize=128)
def _transforms(tau: float) -> _Transforms:
    reach = 8 * tau + 4
    log_l = np.arange(-reach - 24, reach + 4, _LOG_STEP)
    product = np.exp(log_l[:, None] + tau * _Z)
    decay = np.exp(-product) * _DENSITY
    return _Transforms(log_l, decay.sum(axis=1), (decay * product**2).sum(axis=1))


def participation(count: Array, tau: float) -> Array:
    """E Σ a² of softmax weights a over ``count`` independent N(0, τ²) logits: 1/count at τ = 0.

    ``count`` may be fractional (a bin's mean) and is at least 1, where it is 1.
    """
    _, once, twice = _transforms(tau)
    n = np.asarray(count, float)[..., None]
    return (n * twice * np.maximum(once, 1e-300) ** (n - 1)).sum(axis=-1) * _LOG_STEP


def log_normaliser(count: float, tau: float) -> float:
    """E ln Σ e^s over ``count`` independent N(0, τ²) logits: ln(count) + τ²/2 for small τ."""
    log_l, once, _ = _transforms(tau)
    return float((np.exp(-np.exp(log_l)) - once**count).sum() * _LOG_STEP)


class Softmax:
    """Participation and entropy for a set of key counts, tabled over τ.

    ``seen`` (P,): the keys that each bin of queries sees.
    """

    def __init__(self, seen: Array) -> None:
        self.seen = seen
        taus = np.arange(0.0, LARGEST + STEP / 2, STEP)
        columns = [participation(seen, float(tau)) for tau in taus]
        self._log = np.log(np.clip(np.stack(columns, axis=1), 1 / seen[:, None], 1.0))
        self._last = len(taus) - 2

    def participation(self, row: npt.NDArray[np.int64], tau: Array) -> Array:
        """E Σ a² for the key count of ``row`` at τ."""
        at = tau * (1 / STEP)
        low = np.minimum(at.astype(np.int64), self._last)
        left = self._log[row, low]
        return np.exp(left + (at - low) * (self._log[row, low + 1] - left))

    def entropy(self, tau: Array) -> Array:
        """Mean entropy over ln(keys) for each row at its τ (P,); 1 where one key is seen."""
        share = np.ones_like(tau)
        for place, (n, t) in enumerate(zip(self.seen.tolist(), tau.tolist(), strict=True)):
            if n > 1:
                t = round(min(t, LARGEST), 2)  # noqa: PLW2901 - the transforms are cached
                y = float(participation(np.asarray(n), t))
                share[place] = (log_normaliser(n, t) - t * t * (1 - y)) / np.log(n)
        return share


@lru_cache(maxsize=16)
def softmax(seen: tuple[float, ...]) -> Softmax:
    """Return the table for these key counts, built once."""
    return Softmax(np.array(seen))
