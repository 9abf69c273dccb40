"""Positions of a sequence, gathered into bins that widen with the position.

Under a causal mask what a token holds depends on how many it sees, as 1/t; late positions differ
little from their neighbours. Four bins an octave stand for the whole sequence (docs/theory.md, §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Places = npt.NDArray[np.int64]

PER_OCTAVE = 4


@dataclass(frozen=True, eq=False)
class Positions:
    """Bins of the positions 1 to T; ``start`` is each bin's first position, counted from 0.

    Matrices over pairs of bins are (P, P). ``attend[a, b]`` is how much of uniform causal
    attention from bin a falls on bin b; its rows add up to 1.
    """

    length: int
    start: Places

    @cached_property
    def sizes(self) -> Array:
        """Positions in each bin (P,)."""
        return np.diff([*self.start.tolist(), self.length]).astype(float)

    @cached_property
    def _mask(self) -> Array:
        """Whether position t sees position j, (T, T)."""
        return np.tri(self.length)

    def _mean_rows(self, x: Array) -> Array:
        return np.add.reduceat(x, self.start, axis=0) / self.sizes[:, None]

    def _sum_columns(self, x: Array) -> Array:
        return np.add.reduceat(x, self.start, axis=1)

    @cached_property
    def seen(self) -> Array:
        """Keys that a bin's queries see (P,), as 1 over the mean of 1/t."""
        inverse = 1 / np.arange(1.0, self.length + 1)
        return self.sizes / np.add.reduceat(inverse, self.start)

    @cached_property
    def attend(self) -> Array:
        """Uniform causal attention between bins (P, P)."""
        keys = np.arange(1.0, self.length + 1)[:, None]
        return self._mean_rows(self._sum_columns(self._mask / keys))

    @cached_property
    def gather(self) -> Array:
        """What a key in bin j gets back: the sum over bin a's queries of 1/t (P, P)."""
        return self.attend.T * self.sizes[None, :] / self.sizes[:, None]

    @cached_property
    def gather_both(self) -> Array:
        """Products of :attr:`gather` for two bins of queries and a key (P, P, P)."""
        return self.gather.T[:, None] * self.gather.T

    @cached_property
    def attend_lower(self) -> Array:
        """:attr:`attend` of the earlier of two bins of queries (P, P + 1, P)."""
        return self.attend[self.lower]

    @cached_property
    def gather_squares(self) -> Array:
        """As :attr:`gather`, of 1/t²."""
        keys = np.arange(1.0, self.length + 1)[:, None]
        return self._mean_rows(self._sum_columns((self._mask / keys**2).T))

    @cached_property
    def lower(self) -> Places:
        """The earlier bin of each pair, with a last column for a position by itself (P, P + 1)."""
        place = np.arange(len(self.start))
        return np.column_stack([np.minimum.outer(place, place), place])

    @cached_property
    def upper(self) -> Places:
        """The later bin of each pair (P, P + 1)."""
        place = np.arange(len(self.start))
        return np.column_stack([np.maximum.outer(place, place), place])

    @cached_property
    def single(self) -> Array:
        """Weight of each bin in a mean over positions (P,)."""
        return self.sizes / self.length

    @cached_property
    def pairs(self) -> Array:
        """Weight of each pair of bins in a mean over two different positions (P, P)."""
        counts = np.outer(self.sizes, self.sizes) - np.diag(self.sizes)
        return counts / max(counts.sum(), 1.0)

    @cached_property
    def adjacent(self) -> Array:
        """Share of neighbours among the pairs of different positions of two bins (P, P)."""
        near = np.eye(self.length, k=1) + np.eye(self.length, k=-1)
        sums = np.add.reduceat(self._sum_columns(near), self.start, axis=0)
        counts = np.outer(self.sizes, self.sizes) - np.diag(self.sizes)
        return sums / np.maximum(counts, 1.0)

    def turned(self, head_size: int, theta: float) -> Array:
        """What rotation leaves of a common key: mean of cos(angle between positions) (P, P)."""
        half = head_size // 2
        rates = theta ** (-np.arange(half) / half)
        cosine = np.cos(np.arange(self.length)[:, None] * rates).mean(axis=1)
        apart = np.abs(np.subtract.outer(np.arange(self.length), np.arange(self.length)))
        every = cosine[apart]
        np.fill_diagonal(every, 0.0)
        sums = np.add.reduceat(self._sum_columns(every), self.start, axis=0)
        counts = np.outer(self.sizes, self.sizes) - np.diag(self.sizes)
        return np.where(counts > 0, sums / np.maximum(counts, 1.0), 1.0)

    def waves(self, width: int, theta: float) -> Array:
        """Mean over features of sines and cosines at every rate (P,); sines come first."""
        half = -(-width // 2)
        angle = np.arange(self.length)[:, None] * theta ** (-np.arange(half) / half)
        features = np.hstack([np.sin(angle), np.cos(angle)])[:, :width]
        return self._mean_rows(features.mean(axis=1)[:, None])[:, 0]


@lru_cache(maxsize=16)
def positions(length: int) -> Positions:
    """Gather the positions of a sequence: singly at first, then ``PER_OCTAVE`` bins an octave."""
    count = int(np.ceil(PER_OCTAVE * np.log2(length + 1))) + 1
    edges = np.floor(2 ** (np.arange(count) / PER_OCTAVE)).astype(np.int64) - 1
    return Positions(length, np.unique(edges[edges < length]))
