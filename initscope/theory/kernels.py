"""Kernels: the mean product of a feature at two tokens, for every pair of positions.

A kernel is an array (S, P, P + 1) over the bins of :mod:`~initscope.theory.positions`. Row a and
column b < P hold a pair of *different* positions, the last column a position with itself. S is 1
for the pairs of one sequence, and 2 where another sequence's pairs matter too: there the last
column is the same position in both. Gradients have kernels alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.theory.gains import Map
from initscope.theory.positions import Positions, positions

Array = npt.NDArray[np.floating[Any]]


def own(kernel: Array) -> Array:
    """Mean square at each position (P,)."""
    return kernel[0, :, -1]


def outer(v: Array) -> Array:
    """Products of a value at two positions (P, P + 1)."""
    return np.column_stack([np.multiply.outer(v, v), v * v])


def pack(pairs: Array, singles: Array) -> Array:
    """Put pairs (S, P, P) and positions by themselves (S, P) together."""
    return np.concatenate([pairs, singles[..., None]], axis=-1)


@dataclass(frozen=True, eq=False)
class Batch:
    """How many tokens there are, and how means and sums over their pairs go."""

    sequences: int
    at: Positions

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.sequences * self.at.length

    def mean(self, kernel: Array) -> float:
        """Mean over tokens of a kernel's square."""
        return float(own(kernel) @ self.at.single)

    @cached_property
    def _different(self) -> Array:
        """Weights (P, P + 1) of a mean over pairs of different tokens of one sequence."""
        return np.column_stack([self.at.pairs, np.zeros(len(self.at.start))])

    @cached_property
    def _every(self) -> Array:
        """Weights (S, P, P + 1) of a mean over all pairs of tokens."""
        length = self.at.length
        pairs = self.at.pairs * ((length - 1) / length)
        one = np.column_stack([pairs, self.at.single / length])
        shares = [1 / self.sequences, 1 - 1 / self.sequences][: min(self.sequences, 2)]
        return np.stack([one * share for share in shares])

    def between(self, kernel: Array) -> float:
        """Mean over pairs of different tokens of one sequence."""
        return float(np.vdot(kernel[0], self._different))

    def every(self, kernel: Array) -> float:
        """Mean over all pairs of tokens, of other sequences too."""
        return float(np.vdot(kernel, self._every))

    def coherence(self, kernel: Array) -> float:
        """Mean over all pairs of tokens of the squared kernel, over its squared mean.

        Tokens that share a direction average nothing out: for normal features the mean square
        over all tokens has this times 2/width for its relative variance.
        """
        mean = self.mean(kernel)
        return self.every((kernel / mean) ** 2) if mean > 0 else 0.0

    def repeated(self, kernel: Array) -> float:
        """Coherence of all sequences over that of one."""
        if self.sequences == 1:
            return 1.0
        alone = float(np.vdot(kernel[0] ** 2, self._every[0])) * self.sequences
        return self.every(kernel**2) / alone if alone > 0 else 1.0

    def total(self, one: Array, other: Array) -> float:
        """Sum over all pairs of tokens of the product of two kernels."""
        return float(np.vdot(one * self._every, other)) * self.tokens**2

    def cosine(self, kernel: Array) -> float:
        """Mean cosine between two different tokens of one sequence."""
        if self.at.length < 2:
            return math.nan
        root = np.sqrt(own(kernel))
        inverse = 1 / np.where(root > 0, root, 1.0)
        return float(inverse @ (kernel[0, :, :-1] * self.at.pairs) @ inverse)


def batch(sequences: int, length: int) -> Batch:
    """Return the pairs of a batch."""
    return Batch(sequences, positions(length))


class Normed(NamedTuple):
    """A norm's output, and by what it multiplied each position (P,)."""

    kernel: Array
    inverse: Array


class Norm(NamedTuple):
    """LayerNorm or RMSNorm over ``width`` features.

    LayerNorm takes away the mean feature, 1/width of the square, and from a gradient two
    directions of ``width``; RMSNorm none of the first and one of the second.
    """

    width: int
    eps: float
    centred: bool

    @classmethod
    def of(cls, config: GPTConfig) -> Norm:
        """Return the stream's norm."""
        return cls(config.n_embd, config.norm_eps, config.norm_kind == "layernorm")

    def forward(
        self, kernel: Array, gain: Map, uncentred: float = 1.0, mean: Array | float = 0.0
    ) -> Normed:
        """Normalise: c / sqrt((q + eps)(q' + eps)), times gain², plus bias².

        ``uncentred`` is the part of the input that no LayerNorm has centred yet, ``mean`` what
        its features have in common whatever the weights (P,).
        """
        if self.centred and np.any(mean):
            kernel = kernel - outer(np.broadcast_to(mean, kernel.shape[1]))
        kept = 1 - uncentred / self.width if self.centred else 1.0
        inverse = 1 / np.sqrt(own(kernel) * kept + self.eps)
        scaled = kernel * (kept * gain.scale * outer(inverse))
        return Normed(scaled + gain.shift if gain.shift else scaled, inverse)

    def backward(self, gradient: Array, normed: Normed, gain: Map, lost: float = 1.0) -> Array:
        """Pass a gradient back; ``lost`` is how much of the usual directions it has."""
        directions = (2 if self.centred else 1) * lost
        return gradient * (gain.scale * (1 - directions / self.width) * outer(normed.inverse))
