"""How often two tokens of a measurement are the same id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initscope.tokens import Ids, tokens


class Matches(NamedTuple):
    """Probabilities over pairs of tokens.

    ``within`` one sequence, ``across`` two, ``next_is_same`` for a token and the one after it.
    ``twins`` is the variance of "is the same" over the pairs of one sequence, about the means of
    either token: what is left once both are centred.
    """

    within: float
    across: float
    next_is_same: float
    twins: float

    @classmethod
    def of(cls, ids: Ids) -> Matches:
        """Count them in ids (B, T + 1), exactly."""
        inputs = ids[:, :-1]
        batch, length = inputs.shape
        inside = sum(_same(row) for row in inputs) - batch * length
        total = _same(inputs.ravel()) - batch * length
        within = inside / max(batch * length * (length - 1), 1)
        across = (total - inside) / max(batch * (batch - 1) * length**2, 1)
        again = float((ids[:, 1:] == inputs).mean())
        return cls(float(within), float(across), again, float(np.mean([*map(_twins, inputs)])))

    @classmethod
    def mean(cls, several: Sequence[Matches]) -> Matches:
        """Average those of several seeds."""
        return cls(*np.mean(several, axis=0).tolist())

    @classmethod
    def above(cls, several: Sequence[Matches]) -> Matches:
        """Return what lies one standard deviation between seeds above their mean."""
        return cls(*(np.mean(several, axis=0) + np.std(several, axis=0, ddof=1)).tolist())


def matches(
    source: str, *, vocab_size: int, batch: int, length: int, seeds: Sequence[int]
) -> list[Matches]:
    """Count matches in the very ids that a measurement takes, (B, T + 1) for each seed.

    Raises:
        UsageError: as :func:`initscope.tokens.tokens`.
    """
    ids = (
        tokens(source, vocab_size=vocab_size, batch=batch, length=length + 1, seed=seed)
        for seed in seeds
    )
    return [Matches.of(one) for one in ids]


def _twins(row: Ids) -> float:
    """Variance of "is the same" about the means of both, less that of a token with itself."""
    share = np.unique(row, return_counts=True)[1] / len(row)
    square = float((share**2).sum())
    centred = square - 2 * float((share**3).sum()) + square**2
    return max(0.0, centred - (1 - 1 / len(row)) / len(row))


def _same(ids: Ids) -> int:
    """Count ordered pairs of the same id, a token with itself too."""
    counts = np.unique(ids, return_counts=True)[1].astype(np.int64)
    return int((counts**2).sum())
