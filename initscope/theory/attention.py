"""Causal softmax attention on kernels, forward and backward (docs/theory.md, §5 and §9)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.theory.gains import Layer
from initscope.theory.kernels import Batch, outer, own, pack
from initscope.theory.keys import at_key, contrasted, diagonal, distance, together, weighed
from initscope.theory.softmax import softmax

Array = npt.NDArray[np.floating[Any]]


class Mixed(NamedTuple):
    """What attention did at one layer: kernels at its sites, and how peaked it is.

    ``query`` is as it meets keys (qk-norm applied). ``common`` (P, P + 1) is E Σ_j a_tj a_sj, and
    ``contrast`` what of it a softmax passes back. ``far_key`` and ``far_value`` (P, P) are how far
    each key and value is from the mean of those that a query sees, ``attend`` the mean weights,
    ``uneven`` (P, P + 1, P) how those that two queries share differ over keys; ``between`` is of
    different keys what ``contrast`` is of one. ``alike`` are relative variances of the distance:
    of a pair, of all.
    """

    q: Array
    k: Array
    v: Array
    out: Array
    query: Array
    logit: Array
    common: Array
    contrast: Array
    far_key: Array
    far_value: Array
    inverse: tuple[Array, Array] | None
    alike: tuple[float, float]
    attend: Array
    uneven: Array
    between: Array


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
        if config.positions != "rope":
            return cls(config, batch, None)
        part = config.rotated / config.head_size
        turned = batch.at.turned(config.rotated, config.rope_theta)
        return cls(config, batch, part * turned + (1 - part))

    def forward(self, x: Array, layer: Layer, alike: tuple[float, float]) -> Mixed:
        """Mix the input's kernel (S, P, P + 1); ``alike`` as in :class:`Mixed`."""
        q, k, v = (layer.maps[role].scale * x + layer.maps[role].shift for role in ("q", "k", "v"))
        query, key, inverse = self._met(q, k)
        at, turned = self.batch.at, self._rotated(key)
        scale = layer.factors.attention**2
        far_key = distance(at.attend, own(key), turned[0])
        apart_key = (at.attend * far_key).sum(axis=1)
        square = np.maximum(scale * query[0] * apart_key[at.lower], 0.0)
        table, logit = softmax(tuple(at.seen)), np.sqrt(square[:, -1])
        attend, uneven = weighed(at, far_key, apart_key, scale * query[0], table.responses(logit))
        far_value = distance(attend, own(v), v[0, :, :-1])
        apart_value = (attend * far_value).sum(axis=1)
        seen = at.seen[at.lower] / at.seen[at.upper]
        spread = self._spread(alike[0])
        common = seen * table.average(at.lower, square, spread * outer(logit))
        either = (np.sqrt(square[:, -1] * (1 + sign * spread)) for sign in (-1, 1))
        one = np.mean([table.contrast(tau) for tau in either], axis=0)
        contrast = common * contrasted(
            at, common[:, -1], one, square / outer(np.maximum(logit, 1e-150))
        )
        mixed = self._average(v, common, attend, uneven)
        between = together(v[..., :-1], turned, attend, at)
        between += alike[0] * outer(np.sqrt(apart_key * apart_value))
        shift, back = table.together(logit)
        # A query tilts its weights towards keys along it, and so moves the mean it takes.
        mixed += scale * query * between * outer(np.sqrt(shift))
        return Mixed(
            q, k, v, mixed, query, logit, common, contrast, far_key, far_value,
            inverse, alike, attend, uneven, between * outer(np.sqrt(back)),
        )  # fmt: skip

    def _spread(self, alike: float) -> float:
        """Relative deviation over heads of their logits' variance.

        A head's query has few features, and keys that differ in few directions: it is a square
        form, of relative variance 2 Σ λ² / (Σ λ)².
        """
        few = 0.0 if self.config.qk_norm else 1 / self.config.head_size
        return min(math.sqrt(2 * (few + max(alike, 0.0))), 1.0)

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

    def _average(self, v: Array, common: Array, attend: Array, uneven: Array) -> Array:
        """Average values: all pairs uniformly, and the excess of a key met with itself."""
        at = self.batch.at
        smooth = attend @ v[..., :-1] @ attend.T
        excess = v[..., -1] - diagonal(v[..., :-1])
        mixed = pack(smooth, diagonal(smooth))
        mixed[0] += common * np.einsum("abj,abj->ab", uneven, at.attend_lower * excess[0])
        if len(v) > 1:
            mixed[1] += (excess[1] @ attend.T)[at.lower] / at.seen[at.upper]
        return mixed

    def backward(self, gradient: Array, mixed: Mixed, layer: Layer) -> Passed:
        """Pass back the gradient's kernel at attention's output."""
        scale = layer.factors.attention**2
        v = self._values(gradient, mixed)
        scale *= 1 + mixed.alike[1]  # keys and values are apart together
        q = scale * gradient * self.queries(mixed)
        k = np.zeros_like(v)
        k[0] = scale * self._keys(gradient[0], mixed)
        if mixed.inverse is not None:
            lost = 1 - 1 / self.config.head_size
            q, k = (g * (lost * outer(i)) for g, i in zip((q, k), mixed.inverse, strict=True))
        maps = layer.maps
        x = maps["q"].scale * q + maps["k"].scale * k + maps["v"].scale * v
        return Passed(q, k, v, x)

    def _values(self, gradient: Array, mixed: Mixed) -> Array:
        """Gradient at the values: each gathers from all queries that see it."""
        at, pairs, singles = self.batch.at, gradient[..., :-1], gradient[..., -1]
        common = mixed.common
        gather = mixed.attend.T * at.sizes[None, :] / at.sizes[:, None]
        smooth = gather @ pairs @ gather.T
        peaked = common * at.seen[at.upper]
        here = diagonal(pairs)
        # Two keys of one query share its weight, 1 - Σ a², among its t (t - 1) pairs.
        split = np.where(at.seen > 1, at.seen / np.maximum(at.seen - 1, 0.5), 0.0)
        apart = singles * 1.0
        apart[0] *= (1 - common[:, -1]) * split
        off = (apart - here) @ at.gather_squares.T
        flow = pairs[0] * peaked[:, :-1]
        flow = np.column_stack([pairs[0] * peaked[:, :-1], peaked[:, -1] * singles[0]])
        flow[:, -1] += np.diagonal(flow) - diagonal(peaked) * here[0]
        one = at_key(at, flow, mixed.uneven)
        alone = diagonal(smooth) + off
        alone[0] = one
        return pack(smooth + off[:, at.upper[:, :-1]], alone)

    def queries(self, mixed: Mixed) -> Array:
        """Σ_jk a_tj a_sk cov(v_j, v_k) k_j·k_k, which multiplies the gradient at the queries."""
        at, factor = self.batch.at, mixed.between.copy()
        far = at.attend * mixed.far_key * mixed.far_value
        factor[0] += mixed.contrast * np.einsum("abj,abj->ab", mixed.uneven, far[at.lower])
        return factor

    def _keys(self, gradient: Array, mixed: Mixed) -> Array:
        """Gradient at the keys of one sequence (P, P + 1), up to the attention multiplier."""
        at = self.batch.at
        flow = gradient * self.turned_query(mixed) * (mixed.contrast * at.seen[at.upper])
        # Of each query's keys what one gets the others together lose.
        far = mixed.uneven * mixed.far_value[at.lower]
        one = at_key(at, flow, far)
        others = at_key(at, flow / np.maximum(at.seen[at.lower] - 1, 0.5), far)
        return np.column_stack([-others[at.upper[:, :-1]], one])

    def turned_query(self, mixed: Mixed) -> Array:
        """Queries' kernel as a key that both meet sees it (P, P + 1)."""
        query = mixed.query[0] * 1.0
        if self.rotation is not None:
            query[:, :-1] *= self.rotation
        return query

    def entropy(self, mixed: Mixed) -> float:
        """Mean entropy of the rows that see more than one key, over ln(keys)."""
        at = self.batch.at
        table = softmax(tuple(at.seen))
        spread = self._spread(mixed.alike[0])
        either = (mixed.logit * math.sqrt(1 + sign * spread) for sign in (-1, 1))
        share = np.mean([table.entropy(tau) for tau in either], axis=0)
        return _rows_mean(share, self.batch)

    def logit_std(self, mixed: Mixed) -> float:
        """Root mean square over queries of the logits' deviation over the keys seen."""
        return float(np.sqrt(_rows_mean(mixed.logit**2 * (1 - 1 / self.batch.at.seen), self.batch)))


def _rows_mean(values: Array, batch: Batch) -> float:
    """Average over the queries that see at least two keys."""
    weights = batch.at.sizes.copy()
    weights[0] -= 1
    return float(values @ weights / weights.sum())
