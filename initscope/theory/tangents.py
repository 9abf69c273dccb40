"""How much a gradient scatters where few tokens come to carry it (docs/theory.md, §12).

What the draws of a later layer do to an earlier one's gradient depends on what the earlier hears
of each token there (:mod:`~initscope.theory.adjoint`): tokens whose gradient still grows on its way
back count for more than their share of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.theory.adjoint import attended, heard, heard_alone, heard_twice
from initscope.theory.block import Block
from initscope.theory.retrace import Return
from initscope.theory.returning import Met

Array = npt.NDArray[np.floating[Any]]

APART = 1.5  # ratio of the layers, counted from the embedding, that tangents leave
CHANGE = 1 / 24  # relative change of the stream over blocks that one stands for


def scattered(
    block: Block, found: Sequence[Return], gradient: Array, repeats: float
) -> Iterator[Return]:
    """Add to every layer's spread what the maps' draws bring in, layers from the last to the first.

    ``gradient`` is that at the stream's end, and ``repeats`` as in :class:`Way` there.
    """
    tangents, places, depth = Tangents(block), list[float](), block.config.n_layer
    chosen = _thinned(found)
    ends = [one.start for one in chosen[1:]] + [float(depth)]
    for one, end in zip(chosen, ends, strict=True):
        if not places or one.start + 1 >= APART * (places[-1] + 1):
            tangents.leave()
            places.append(one.start)
        tangents.through(one, end - one.start)
    tangents.leave()
    places.append(depth)
    variances = tangents.ended(gradient, repeats)
    for one in found:
        before, after = np.interp([one.place, one.place + 1], places, variances)
        way = one.gradients.way
        way = way._replace(spread=way.spread + float(before))
        gradients = one.gradients._replace(way=way)
        yield one._replace(gradients=gradients, spread=one.spread + float(after))


def _thinned(found: Sequence[Return]) -> list[Return]:
    """Return some of the layers, from the first to the last, which stand for those up to the next.

    A block changes little of what has met many before it.
    """
    chosen: list[Return] = []
    for one in reversed(found):
        if not chosen or one.start >= chosen[-1].start * (1 + CHANGE):
            chosen.append(one)
    return chosen


class Tangents:
    """Tangents (K, P, P + 1) that left K layers, on their way to the end.

    ``scatter`` (K,) is the variance that the draws met so far bring to ln of the gradient's mean
    square where they left. Kernels are kept such that what they hear of the gradient is 1.
    """

    def __init__(self, block: Block) -> None:
        self.block, self.batch = block, block.batch
        size = len(self.batch.at.start)
        self.kernels: Array = np.zeros((0, size, size + 1))
        self.scatter: Array = np.zeros(0)

    def leave(self) -> None:
        """Send off tangents from here."""
        size = self.kernels.shape[1]
        one = np.column_stack([np.zeros((size, size)), np.ones(size)])
        self.kernels = np.concatenate([self.kernels, one[None]])
        self.scatter = np.append(self.scatter, 0.0)

    def through(self, found: Return, blocks: float) -> None:
        """Carry all through a block, and others alike."""
        before = self._even(self.kernels, found.gradients.pre)
        mid, after = self.carried(before, found)
        first, second = found.gradients.met
        added = self.drawn(before, first) + self.drawn(mid, second)
        self.scatter = self.scatter + blocks * added
        turned = self._even(after, found.gradients.post) - before
        self.kernels = before + blocks * turned

    def carried(self, tangents: Array, found: Return) -> tuple[Array, Array]:
        """Carry tangents to where the MLP meets the skip, and to the block's end."""
        gradients, mid = found.gradients, self._mid(tangents, found)
        beside = tangents * _ratio(gradients.met[0].beside, gradients.post)
        return mid, mid * _ratio(gradients.mid, gradients.post) + beside

    def _mid(self, tangents: Array, found: Return) -> Array:
        """Carry tangents from a block's start to between attention and MLP."""
        gradients, first = found.gradients, found.gradients.met[0]
        read = tangents * _ratio(first.branch, gradients.passed.x)
        mixed = attended(self.block.attention, read, found.trace.mixed, found.trace.layer)
        back = _ratio(gradients.attn, gradients.mid)
        return tangents * _ratio(first.skip, gradients.mid) + mixed * back

    def drawn(self, tangents: Array, met: Met) -> Array:
        """Return the variances (K,) that a branch's maps bring in where it meets the skip."""
        width = 2 / self.block.config.n_embd
        added = width * self._twice(tangents, met.total, met.repeats)
        added -= width * self._twice(tangents, met.skip, met.repeats)
        added += met.rough * self._twice(tangents, met.branches, met.mixed)
        return np.maximum(added, 0.0) * self._over(tangents, met.total) ** 2

    def ended(self, gradient: Array, repeats: float) -> Array:
        """Return all variances (K,) at the end, those of the gradient's features there included."""
        own = self._twice(self.kernels, gradient, repeats)
        own *= self._over(self.kernels, gradient) ** 2
        return self.scatter + 2 / self.block.config.n_embd * own

    def _even(self, tangents: Array, gradient: Array) -> Array:
        return tangents * self._over(tangents, gradient)[:, None, None]

    def _over(self, tangents: Array, gradient: Array) -> Array:
        """Return 1 over what is heard of a gradient (K,); 0 where there is none."""
        found = heard(self.batch, tangents, gradient)
        return np.divide(1.0, found, out=np.zeros_like(found), where=found > 0)

    def _twice(self, tangents: Array, gradient: Array, repeats: float) -> Array:
        """Return tr BGBG, in which targets that repeat by chance count, beyond their mean."""
        alone = heard_alone(self.batch, tangents, gradient)
        return heard_twice(self.batch, tangents, gradient) + repeats * alone**2


def _ratio(one: Array, other: Array) -> Array:
    """Return by what a kernel of one sequence was multiplied (P, P + 1)."""
    there = other[0] != 0
    return np.where(there, one[0] / np.where(there, other[0], 1.0), 0.0)
