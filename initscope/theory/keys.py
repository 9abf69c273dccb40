"""The keys that a query sees: how far they are apart, and what weight that gives them (§5).

Arrays are over the bins of :mod:`~initscope.theory.positions`: (P, P) for a query and its keys,
(P, P + 1, P) for two queries, or one with itself, and the keys of the earlier.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.theory.kernels import pack
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


def together(v: Array, k: Array, attend: Array) -> Array:
    """Σ_jk a_tj a_sk cov(v_j, v_k) cov(k_j, k_k) over different keys (S, P, P + 1).

    The covariances are about the means over what t and s see, since a softmax passes back
    nothing that all keys share.
    """
    v_row, k_row = attend @ v, attend @ k
    cross = (v_row * k_row) @ attend.T
    smooth = attend @ (v * k) @ attend.T - cross - cross.transpose(0, 2, 1)
    smooth += (v_row @ attend.T) * (k_row @ attend.T)
    return pack(smooth, diagonal(smooth))


def at_key(at: Positions, flow: Array, uneven: Array) -> Array:
    """Gather what the pairs of queries beyond a key send to it (P,); ``flow`` is (P, P + 1)."""
    both = np.einsum("abj,abj->j", flow[:, :-1, None] * uneven[:, :-1], at.gather_both)
    back = flow[:, -1] - np.diagonal(flow[:, :-1])
    return both + (at.gather_squares.T * uneven[:, -1] * back[:, None]).sum(axis=0)


def diagonal(pairs: Array) -> Array:
    """The pairs within each bin (S, P), or (P,)."""
    return np.diagonal(pairs[..., : pairs.shape[-2]], axis1=-2, axis2=-1)
