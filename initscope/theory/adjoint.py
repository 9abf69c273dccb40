"""Tangents on kernels: what an earlier layer hears of a gradient (docs/theory.md, §12).

A tangent is a small change of the stream, independent and alike at every token of some layer, that
the network carries on. With B_ts the kernel of tangents and G_ts the gradient's, in one layer,
Σ_ts B_ts G_ts is the gradient's mean square where the tangents left, up to a factor: carrying B
forward is the adjoint of carrying G back. Tangents are arrays (K, P, P + 1), of K layers that they
left, and over pairs of tokens of one sequence: those of two sequences never meet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.theory.attention import Attention, Mixed
from initscope.theory.gains import Layer
from initscope.theory.kernels import Batch, outer, own, pack
from initscope.theory.keys import diagonal

Array = npt.NDArray[np.floating[Any]]


def attended(attention: Attention, tangents: Array, mixed: Mixed, layer: Layer) -> Array:
    """Carry tangents from attention's input to its output, through values, queries and keys."""
    maps, query, key = layer.maps, tangents, tangents
    if mixed.inverse is not None:
        lost = 1 - 1 / attention.config.head_size
        query, key = (tangents * (lost * outer(one)) for one in mixed.inverse)
    scale = layer.factors.attention**2 * (1 + mixed.alike[1])
    return (
        maps["v"].scale * _values(attention, tangents, mixed)
        + (maps["q"].scale * scale) * attention.queries(mixed)[0] * query
        + (maps["k"].scale * scale) * _keys(attention, key, mixed)
    )


def _values(attention: Attention, tangents: Array, mixed: Mixed) -> Array:
    """Average over the keys: all pairs by mean weights, and the excess of one met with itself."""
    pairs, at = tangents[..., :-1], attention.batch.at
    smooth = mixed.attend @ pairs @ mixed.attend.T
    excess = _over_keys(mixed.uneven * at.attend_lower, tangents[..., -1] - diagonal(pairs))
    return pack(smooth, diagonal(smooth)) + mixed.common * excess


def _keys(attention: Attention, tangents: Array, mixed: Mixed) -> Array:
    """Turn two queries' weights towards keys: what one gets the others lose."""
    pairs, at = tangents[..., :-1], attention.batch.at
    far = mixed.uneven * at.attend_lower * mixed.far_value[at.lower]
    earlier = np.tril(np.multiply.outer(np.ones(len(at.sizes)), 2 * at.sizes), -1)
    others = (pairs * earlier).sum(axis=-1) + (at.sizes - 1) * diagonal(pairs)
    lost = _over_keys(far, others) / np.maximum(at.seen[at.lower] - 1, 0.5)
    turned = attention.turned_query(mixed) * mixed.contrast
    return turned * (_over_keys(far, tangents[..., -1]) - lost)


def _over_keys(weights: Array, keys: Array) -> Array:
    """Return Σ_j weights_abj keys_kj (K, P, P + 1)."""
    shape = weights.shape
    return (keys @ weights.reshape(-1, shape[-1]).T).reshape(-1, *shape[:-1])


def heard(batch: Batch, tangents: Array, gradient: Array) -> Array:
    """Return tr BG (K,): what is heard of a gradient (S, P, P + 1)."""
    at = batch.at
    counts = np.column_stack([np.outer(at.sizes, at.sizes) - np.diag(at.sizes), at.sizes])
    return np.einsum("kab,ab->k", tangents, counts * gradient[0])


def heard_alone(batch: Batch, tangents: Array, gradient: Array) -> Array:
    """Return the part of :func:`heard` (K,) that is of each token by itself."""
    return (tangents[..., -1] * own(gradient)) @ batch.at.sizes


def heard_twice(batch: Batch, tangents: Array, gradient: Array) -> Array:
    """Return tr BGBG (K,) over all tokens, for one sequence's share of :func:`heard`.

    For a gradient of normal features it is width/2 times the variance of :func:`heard`.
    """
    found = sum(
        share * _traced(batch.at.sizes, tangents, one)
        for share, one in zip((1, batch.sequences - 1), gradient, strict=False)
    )
    return np.asarray(found) / batch.sequences


def _traced(sizes: Array, tangents: Array, gradient: Array) -> Array:
    """Return tr BGBG (K,) for a pair of sequences; a diagonal has an excess over its bin."""
    b, g = tangents[..., :-1], gradient[:, :-1]
    b_own, g_own = tangents[..., -1] - diagonal(b), gradient[:, -1] - np.diagonal(g)
    both = (b * sizes) @ g + b_own[..., None] * g + b * g_own
    alone = b_own * g_own
    pairs = np.multiply.outer(sizes, sizes) * both * both.swapaxes(-1, -2)
    return pairs.sum(axis=(-1, -2)) + (2 * diagonal(both) * alone + alone**2) @ sizes
