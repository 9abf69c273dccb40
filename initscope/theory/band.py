"""How far single seeds scatter about their mean: the band of a prediction (docs/theory.md, §11)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.theory.kernels import Batch

Array = npt.NDArray[np.floating[Any]]


def forward_spread(batch: Batch, kernel: Array, width: int) -> float:
    """Relative standard deviation between seeds of the stream's variance.

    That of |x|² summed over tokens, for features that are independent normal vectors with this
    kernel: 2 Σ K² / (Σ_t K_tt)² / width. Tokens that share a direction average nothing out.
    """
    mean = batch.mean(kernel)
    if mean <= 0:
        return 0.0
    return math.sqrt(2 * batch.every((kernel / mean) ** 2) / width)


def backward_spread(batch: Batch, kernel: Array, width: int, drift: float) -> float:
    """Relative standard deviation between seeds of the gradient's square; ``drift`` comes in."""
    return math.hypot(forward_spread(batch, kernel, width), drift)
