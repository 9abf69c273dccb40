"""How far single seeds scatter about a prediction: its band (docs/theory.md, §11)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.profile import Profile
from initscope.theory.block import Block, Trace
from initscope.theory.kernels import Batch

Array = npt.NDArray[np.floating[Any]]

# What the formulas themselves may be off by, relative (benchmarks.accuracy).
MODEL_ERROR = {"forward": 0.015, "backward": 0.03}
T975 = 1.96  # standard deviations of a normal on either side that hold 95 %


def scatter(batch: Batch, kernel: Array, width: float, rough: float = 0.0) -> float:
    """Relative standard deviation between seeds of a vector's mean square over all tokens.

    For features that are independent normal vectors with this kernel: the variance of |x|²
    summed over tokens is 2 Σ K² / width. Tokens that share a direction average nothing out.
    ``rough`` is the excess relative variance of |x|² of one token, beyond 2 / width.
    """
    mean = batch.mean(kernel)
    if mean <= 0 or math.isinf(width):  # nothing there, or a norm holds it fixed
        return 0.0
    return math.sqrt((2 / width + max(rough, 0.0)) * batch.every((kernel / mean) ** 2))


class Drift:
    """How the gradient's size scatters between seeds, collected on its way back.

    A norm divides the gradient by the stream's size, which scatters. Before a branch the stream
    keeps its size's deviation over many layers, so that deviations add up; post-norm takes each
    away at once, so that their squares do.
    """

    def __init__(self, block: Block, end: Array) -> None:
        self.block, self.width = block, block.config.n_embd
        self.value = scatter(block.batch, end, self.width) if block.config.final_norm else 0.0
        self._size = math.nan
        self._place = float(block.config.n_layer)

    def add(self, place: float, trace: Trace, gradient: Array) -> float:
        """Take in a block, or the middle of a stride, and return the deviation before it."""
        size, passed = self.block.batch.mean(gradient), self._place - place
        norm = self.block.config.norm
        if norm == "post":
            share = 2 * (trace.mid.share + trace.post.share)
            one = scatter(self.block.batch, trace.post.stream, self.width)
            self.value = math.sqrt(self.value**2 + passed * share * one**2)
        elif norm != "none" and size > 0 and self._size > 0:
            own = scatter(self.block.batch, trace.post.stream, self.width)
            self.value += abs(math.log(size / self._size)) * own
        self._size, self._place = size, place
        return self.value


def band(
    profile: Profile, direction: str, *, site: str = "resid_post", seeds: int = 1
) -> tuple[Array, Array]:
    """Return the 95 % band of a measured variance over the layers, for a mean over ``seeds``.

    Both ends are (layers,), log-normal about the prediction.
    """
    said = profile.select(site, direction, "variance").iloc[:, 0].to_numpy()
    spread = profile.select(site, direction, "spread").iloc[:, 0].to_numpy()
    reach = T975 * np.sqrt(spread**2 / seeds + MODEL_ERROR[direction] ** 2)
    middle = said * np.exp(-(spread**2) / 2)  # the mean of a log-normal is above its middle
    return middle * np.exp(-reach), middle * np.exp(reach)
