"""Causal softmax attention on kernels, forward and backward (docs/theory.md, §5 and §8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.theory.gains import Layer
from initscope.theory.kernels import Batch, outer, own, pack
from initscope.theory.softmax import softmax

Array = npt.NDArray[np.floating[Any]]


class Mixed(NamedTuple):
    """What attention did at one layer: kernels at its sites, and how peaked it is.

    ``query`` and ``key`` are as they meet (qk-norm applied), ``turned`` the key's pairs after
    rotation. ``common`` (P, P + 1) is E Σ_j a_tj a_sj, and ``contrast`` what of it a softmax
    passes back; ``apart_key`` and ``apart_value`` (P,) are what distinguishes the keys, and the
    values, that a query sees. ``alike`` are relative variances of that: of a pair, of all keys.
    """

    q: Array
    k: Array
    v: Array
    out: Array
    query: Array
    turned: Array
    logit: Array
    common: Array
    contrast: Array
    apart_key: Array
    apart_value: Array
    inverse: tuple[Array, Array] | None
    alike: tuple[float, float]


class Passed(NamedTuple):
    """Gradients at queries, keys and values, of one head of each; and at their input."""

    q: Array
    k: Array
    v: Array
    x: Array


@dataclass(frozen=True, eq=False)
class Attention:
    """One model's attention; ``rotation`` (P, P) is what rope leaves of a common key."""

    config: GPTConfig
    batch: Batch
    rotation: Array | None

    @classmethod
    def of(cls, config: GPTConfig, batch: Batch) -> Attention:
        """Prepare for a model and a batch."""
        turns = config.positions == "rope"
        rotation = batch.at.turned(config.head_size, config.rope_theta) if turns else None
        return cls(config, batch, rotation)

    def forward(self, x: Array, layer: Layer, alike: tuple[float, float]) -> Mixed:
        """Mix the input's kernel (S, P, P + 1); ``alike`` as in :class:`Mixed`."""
        q, k, v = (layer.maps[role].scale * x + layer.maps[role].shift for role in ("q", "k", "v"))
        query, key, inverse = self._met(q, k)
        at, turned = self.batch.at, self._rotated(key)
        apart_key, apart_value = self._apart(own(key), turned[0]), self._apart(own(v), v[0, :, :-1])
        scale = layer.factors.attention**2
        square = np.maximum(scale * query[0] * apart_key[at.lower], 0.0)
        seen = at.seen[at.lower] / at.seen[at.upper]
        table, logit = softmax(tuple(at.seen)), np.sqrt(square[:, -1])
        common = seen * table.participation(at.lower, np.sqrt(square))
        contrast = common * (1 - 1 / at.seen[at.lower])
        contrast[:, -1] = table.contrast(logit)
        mixed = self._average(v, common)
        # A query tilts its weights towards keys along it, and so moves the mean it takes.
        tilt = np.sqrt(apart_key * apart_value / self.config.n_embd) * (1 - common[:, -1])
        mixed += scale * query * outer(tilt)
        return Mixed(
            q, k, v, mixed, query, turned, logit, common, contrast, apart_key, apart_value,
            inverse, alike,
        )  # fmt: skip

    def _met(self, q: Array, k: Array) -> tuple[Array, Array, tuple[Array, Array] | None]:
        """Return queries and keys as they meet."""
        if not self.config.qk_norm:
            return q, k, None
        eps = self.config.norm_eps
        left, right = 1 / np.sqrt(own(q) + eps), 1 / np.sqrt(own(k) + eps)
        return q * outer(left), k * outer(right), (left, right)

    def _rotated(self, kernel: Array) -> Array:
        pairs = kernel[..., :-1]
        return pairs if self.rotation is None else pairs * self.rotation

    def _apart(self, singles: Array, pairs: Array) -> Array:
        """Variance over the keys seen: their mean square less the square of their mean (P,)."""
        attend = self.batch.at.attend
        return np.maximum(attend @ singles - ((attend @ pairs) * attend).sum(axis=1), 0.0)

    def _average(self, v: Array, common: Array) -> Array:
        """Average values: all pairs uniformly, and the excess of a key met with itself."""
        at = self.batch.at
        smooth = at.attend @ v[..., :-1] @ at.attend.T
        excess = (v[..., -1] - _diagonal(v[..., :-1])) @ at.attend.T
        alone = 1 / at.seen[at.upper]
        shared = np.stack([common, alone][: len(v)])
        return pack(smooth, _diagonal(smooth)) + shared * excess[:, at.lower]

    def backward(self, gradient: Array, mixed: Mixed, layer: Layer) -> Passed:
        """Pass back the gradient's kernel at attention's output."""
        scale = layer.factors.attention**2
        v = self._values(gradient, mixed.common)
        scale *= 1 + mixed.alike[1]  # keys and values are apart together
        q = scale * gradient * self._query(mixed)
        k = np.zeros_like(v)
        k[0] = scale * self._keys(gradient[0], mixed)
        if mixed.inverse is not None:
            lost = 1 - 1 / self.config.head_size
            q, k = (g * (lost * outer(i)) for g, i in zip((q, k), mixed.inverse, strict=True))
        maps = layer.maps
        x = maps["q"].scale * q + maps["k"].scale * k + maps["v"].scale * v
        return Passed(q, k, v, x)

    def _values(self, gradient: Array, common: Array) -> Array:
        """Gradient at the values: each gathers from all queries that see it."""
        at, pairs, singles = self.batch.at, gradient[..., :-1], gradient[..., -1]
        smooth = at.gather @ pairs @ at.gather.T
        peaked = common * at.seen[at.upper]
        here = _diagonal(pairs)
        # Two keys of one query share its weight, 1 - Σ a², among its t (t - 1) pairs.
        split = np.where(at.seen > 1, at.seen / np.maximum(at.seen - 1, 0.5), 0.0)
        apart = singles * 1.0
        apart[0] *= (1 - common[:, -1]) * split
        off = (apart - here) @ at.gather_squares.T
        one = ((at.gather @ (pairs[0] * peaked[:, :-1])) * at.gather).sum(axis=1)
        one += at.gather_squares @ (peaked[:, -1] * singles[0] - _diagonal(peaked) * here[0])
        alone = _diagonal(smooth) + off
        alone[0] = one
        return pack(smooth + off[:, at.upper[:, :-1]], alone)

    def _query(self, mixed: Mixed) -> Array:
        """Σ_jk a_tj a_sk cov(v_j, v_k) k_j·k_k, which multiplies the gradient at the queries.

        The covariance is about the values' means over what t and s see, since a softmax passes
        back nothing that all keys share.
        """
        attend = self.batch.at.attend
        v, k = mixed.v[..., :-1], mixed.turned
        v_row, k_row = attend @ v, attend @ k
        cross = (v_row * k_row) @ attend.T
        smooth = attend @ (v * k) @ attend.T - cross - cross.transpose(0, 2, 1)
        smooth += (v_row @ attend.T) * (k_row @ attend.T)
        factor = pack(smooth, _diagonal(smooth))
        lower = self.batch.at.lower
        factor[0] += (mixed.contrast + mixed.alike[0]) * (mixed.apart_key * mixed.apart_value)[lower]
        return factor

    def _keys(self, gradient: Array, mixed: Mixed) -> Array:
        """Gradient at the keys of one sequence (P, P + 1), up to the attention multiplier."""
        at = self.batch.at
        query = mixed.query[0] * 1.0
        if self.rotation is not None:
            query[:, :-1] *= self.rotation
        flow = gradient * query * mixed.apart_value[at.lower]
        peaked = flow * (mixed.contrast * at.seen[at.upper])
        # Of each query's keys what one gets the others together lose.
        one = self._at_key(peaked)
        others = self._at_key(peaked / np.maximum(at.seen[at.lower] - 1, 0.5))
        return np.column_stack([-others[at.upper[:, :-1]], one])

    def _at_key(self, flow: Array) -> Array:
        """Gather what the pairs of queries beyond a key send to it (P,)."""
        at, pairs = self.batch.at, flow[:, :-1]
        both = ((at.gather @ pairs) * at.gather).sum(axis=1)
        return both + at.gather_squares @ (flow[:, -1] - np.diagonal(pairs))

    def entropy(self, mixed: Mixed) -> float:
        """Mean entropy of the rows that see more than one key, over ln(keys)."""
        at = self.batch.at
        share = softmax(tuple(at.seen)).entropy(mixed.logit)
        return _rows_mean(share, self.batch)

    def logit_std(self, mixed: Mixed) -> float:
        """Root mean square over queries of the logits' deviation over the keys seen."""
        return float(np.sqrt(_rows_mean(mixed.logit**2 * (1 - 1 / self.batch.at.seen), self.batch)))


def _rows_mean(values: Array, batch: Batch) -> float:
    """Average over the queries that see at least two keys."""
    weights = batch.at.sizes.copy()
    weights[0] -= 1
    return float(values @ weights / weights.sum())


def _diagonal(pairs: Array) -> Array:
    """The pairs within each bin (S, P), or (P,)."""
    return np.diagonal(pairs[..., : pairs.shape[-2]], axis1=-2, axis2=-1)
