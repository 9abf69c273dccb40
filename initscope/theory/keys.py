"""The keys that a query sees: how far they are apart, and what weight that gives them (§5).

Arrays are over the bins of :mod:`~initscope.theory.positions`: (P, P) for a query and its keys,
(P, P + 1, P) for two queries, or one with itself, and the keys of the earlier.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.theory.kernels import outer, pack
from initscope.theory.positions import Positions

Array = npt.NDArray[np.floating[Any]]

LARGEST = 2.0  # ln of a weight over the mean, beyond which one key would have most of it


def distance(attend: Array, singles: Array, pairs: Array) -> Array:
    """Square distance of each key from the mean of those that a query sees (P, P)."""
    toward = attend @ pairs
    middle = (toward * attend).sum(axis=1)
    far = np.maximum(singles - 2 * toward + middle[:, None], 0.0)
    return np.where(attend > 0, far, 0.0)


def weighed(
    at: Positions, far: Array, mean: Array, query: Array, responses: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return the mean weights (P, P), and how uneven over keys those that two queries share.

    The further a key is from the keys' mean, the more its logit varies, and the larger is its
    mean weight, exp(τ_j²/2) over its mean. ``responses`` say how much of that a softmax passes.
    """
    over = np.where(at.attend > 0, far - mean[:, None], 0.0)
    here = query[:, -1:] * over / 2
    more = _exp(responses[0][:, None] * here)
    more /= (at.attend * more).sum(axis=1, keepdims=True)
    both = query[..., None] * over[at.lower]
    both[:, :-1] += here[:, None] + here
    both[:, -1] += 2 * here
    return at.attend * more, _exp(responses[1][at.lower][..., None] * both)


def _exp(x: Array) -> Array:
    return np.exp(np.clip(x, -LARGEST, LARGEST))


def together(v: Array, k: Array, attend: Array, at: Positions) -> Array:
    """Σ_{j≠k} a_tj a_sk cov(v_j, v_k) cov(k_j, k_k), per pair of different keys (S, P, P + 1).

    The covariances are about the means over what t and s see, since a softmax passes back
    nothing that all keys share. Of one sequence, what a key has with itself is taken away.
    """
    v_row, k_row = attend @ v, attend @ k
    cross = (v_row * k_row) @ attend.T
    smooth = attend @ (v * k) @ attend.T - cross - cross.transpose(0, 2, 1)
    smooth += (v_row @ attend.T) * (k_row @ attend.T)
    smooth[0] -= _itself(v[0], k[0], attend, at)
    smooth[0] *= _per_other(at.seen[at.upper[:, :-1]])
    return pack(smooth, diagonal(smooth))


def _per_other(seen: Array) -> Array:
    """Return n / (n - 1) of n keys, which each have n - 1 others; 0 for one alone."""
    return np.where(seen > 1, seen / np.maximum(seen - 1, 0.5), 0.0)


def _itself(v: Array, k: Array, attend: Array, at: Positions) -> Array:
    """Return the part (P, P) of a sum over two keys in which both are the same position."""
    weight = attend[:, None] * attend / at.sizes
    over_v, over_k = (
        diagonal(one) - row[:, None] - row + (row @ attend.T)[..., None]
        for one, row in ((v, attend @ v), (k, attend @ k))
    )
    return (weight * over_v * over_k).sum(axis=-1)


def contrasted(at: Positions, common: Array, contrast: Array, cosine: Array) -> Array:
    """Return which part (P, P + 1) of the weight that two queries share a softmax passes back.

    ``common`` and ``contrast`` (P,) are of one query, ``cosine`` that of two queries' logits. With
    none E Σ_j of two softmaxes' weights is (1 - Σa²)(1 - Σa'²) n/(n - 1) of E Σ a a', n keys of the
    later; between that and one query with itself it is taken to be linear.
    """
    free = outer(1 - common) * _per_other(at.seen[at.upper])
    tight = (contrast / common)[at.lower]
    share = np.clip(cosine, 0.0, 1.0)
    share[:, -1] = 1.0
    return free + share * (tight - free)


def at_key(at: Positions, flow: Array, uneven: Array) -> Array:
    """Gather what the pairs of queries beyond a key send to it (P,); ``flow`` is (P, P + 1)."""
    both = np.einsum("abj,abj->j", flow[:, :-1, None] * uneven[:, :-1], at.gather_both)
    back = flow[:, -1] - np.diagonal(flow[:, :-1])
    return both + (at.gather_squares.T * uneven[:, -1] * back[:, None]).sum(axis=0)


def diagonal(pairs: Array) -> Array:
    """The pairs within each bin (S, P), or (P,)."""
    return np.diagonal(pairs[..., : pairs.shape[-2]], axis1=-2, axis2=-1)
