"""One block's gradient on kernels, and how that scatters on its way (docs/theory.md, §9, §12)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.theory import mlp
from initscope.theory.attention import Passed
from initscope.theory.block import Added, Block, Stream, Trace
from initscope.theory.fluctuation import Fluctuation, Lever, Size
from initscope.theory.gains import Layer, Map
from initscope.theory.kernels import Norm, Normed
from initscope.theory.mlp import Returned

Array = npt.NDArray[np.floating[Any]]


class Way(NamedTuple):
    """How a gradient came to where it is in the stream.

    ``fresh`` is the part of it that did not come back over a skip; ``lever`` what the stream's
    deviation here does to it, through the norms that it has passed: they divide by a stream that
    this one is part of. ``spread`` is the variance between draws of ln of its mean square over
    all tokens, as far as norms bring it in (:mod:`~initscope.theory.tangents` has the maps' part),
    ``repeats`` that over pairs of tokens of their gradients' cosine, as targets that repeat make
    some alike.
    """

    fresh: float
    lever: Lever
    spread: float
    repeats: float


class Met(NamedTuple):
    """What meets where a branch leaves the stream: kernels on the skip and from the branch.

    ``beside`` is from an MLP beside attention, ``part`` the branches' of the whole, ``rough`` the
    variance that the branch's inner weights bring in; ``repeats`` and ``mixed`` are that over pairs
    of the gradient's cosine, as in :class:`Way`, of all together and of the branches.
    """

    skip: Array
    branch: Array
    beside: Array
    part: float
    rough: float
    repeats: float
    mixed: float

    @property
    def branches(self) -> Array:
        """What came through the branches."""
        return self.branch + self.beside

    @property
    def total(self) -> Array:
        """The gradient behind the meeting."""
        return self.skip + self.branches


class Gradients(NamedTuple):
    """The gradient's kernel at every site of one block, and what is known of the last one.

    ``inner_1`` and ``inner_2`` are at the norms before the branches' last maps, ``met`` where
    attention and MLP leave the stream.
    """

    post: Array
    down: Array
    inner_2: Array | None
    mlp: Returned
    norm_2: Array
    mid: Array
    out: Array
    inner_1: Array | None
    attn: Array
    passed: Passed
    norm_1: Array
    pre: Array
    way: Way
    met: tuple[Met, Met]


class _Place(NamedTuple):
    """Where a branch leaves the stream: how that fluctuates, and what it does to a gradient.

    ``lever`` to the part that has come back over the skip, ``branch`` to the branch's own.
    """

    size: Size
    moves: Fluctuation
    repeated: float
    lever: Lever
    branch: Lever

    def turned(self, part: float) -> _Place:
        """Add what vanishes as (1 - ρ)², where ``part`` came through queries and keys."""
        between = self.size.square - self.size.shared
        if between <= 1e-6 * self.size.square or self.branch.square == 0:
            return self
        more = 2 * part / between
        return self._replace(branch=self.branch.plus(Lever(-self.size.cosine * more, more, 0.0)))


class Returning:
    """The way back through a block of one architecture."""

    def __init__(self, block: Block) -> None:
        self.block, self.config, self.batch = block, block.config, block.batch

    def backward(self, gradient: Array, way: Way, trace: Trace) -> Gradients:
        """Carry the gradient's kernel from the block's end to its start."""
        layer, beside = trace.layer, self.config.branches != "sequential"
        shared = self.config.branches == "shared"
        skip, down = self._split(gradient, way, trace.post, layer, "norm_2")
        act = down * (layer.maps["mlp_down"].scale * self.config.n_embd / self.config.d_ff)
        inner_2, act = self._inner(act, trace.post, layer, "norm_mlp", self._hidden(trace))
        returned = mlp.backward(self.config, act, trace.hidden, layer)
        at = self._at(trace.read, trace.post, layer.factors.skip_mlp, way)
        second = returned.x if shared else self._before_back(returned.x, trace, "norm_2", at)
        rough = mlp.roughness_back(self.config, trace.hidden)
        mid = skip if beside else skip + second
        way = way._replace(lever=at.lever)
        met_2 = self._meets(way, (skip, 0 * skip if beside else second, 0 * skip), rough, 1.0)
        if not beside:
            way = self._met(way, met_2, at, trace.post)
        skip, out = self._split(mid, way, trace.mid, layer, "norm_1")
        inner_1, attn = self._inner(
            out * layer.maps["attn_out"].scale, trace.mid, layer, "norm_attn",
            2 / self.config.n_embd,
        )  # fmt: skip
        passed = self.block.attention.backward(attn, trace.mixed, layer)
        at = self._at(trace.pre, trace.mid, layer.factors.skip_attn, way)
        at = at.turned(self._turning(passed, layer))
        norm_1 = passed.x + returned.x if shared else passed.x
        branch = self._before_back(passed.x, trace, "norm_1", at)
        other = self._before_back(returned.x, trace, "norm_1", at) if shared else second
        met_1 = self._meets(
            way, (skip, branch, other if beside else 0 * skip), mlp.VALUES / self.config.n_embd, 0.0
        )
        return Gradients(
            gradient, down, inner_2, returned, returned.x, mid, out, inner_1, attn, passed,
            norm_1, met_1.total, self._met(way, met_1, at, trace.mid), (met_1, met_2),
        )  # fmt: skip

    def _hidden(self, trace: Trace) -> float:
        return mlp.roughness(self.config, trace.hidden) if self.config.inner_norm else 0.0

    def _inner(
        self, gradient: Array, added: Added, layer: Layer, label: str, rough: float
    ) -> tuple[Array | None, Array]:
        """Return the gradient at a norm before a branch's last map, if any, and before it."""
        if added.inner is None:
            return None, gradient
        norm = self.block.inner_norm(label)
        return gradient, _through(norm, gradient, added.inner, layer.maps[label], rough)

    def _at(self, stream: Stream, added: Added, skip: float, way: Way) -> _Place:
        """Return where a branch leaves the stream, on the way back."""
        size = self.block.size(stream.kernel)
        divided = self.config.norms_input or self.config.norms_output
        divided = divided and size.square > 0
        one = 1 / size.square if divided else 0.0
        lever = way.lever.back(size, added.gain, skip**2) if divided else way.lever
        repeated = self.batch.repeated(stream.kernel)
        return _Place(size, stream.moves, repeated, lever, Lever(one, 0.0, one))

    def _turning(self, passed: Passed, layer: Layer) -> float:
        """Part of attention's gradient that came through queries and keys."""
        whole, maps = self.batch.mean(passed.x), layer.maps
        weighed = maps["q"].scale * passed.q + maps["k"].scale * passed.k
        return self.batch.mean(weighed) / whole if whole > 0 else 0.0

    def _meets(
        self, way: Way, kernels: tuple[Array, Array, Array], rough: float, kept: float
    ) -> Met:
        """Return what meets; of what repeated targets make alike the branch keeps a part."""
        skip, branches = kernels[0], kernels[1] + kernels[2]
        whole = self.batch.mean(skip + branches)
        part = self.batch.mean(branches) / whole if whole > 0 else 1.0
        repeats = way.repeats * (1 - part + kept * part) ** 2
        return Met(*kernels, part, rough, repeats, kept * way.repeats)

    def _met(self, way: Way, met: Met, at: _Place, added: Added) -> Way:
        """Return the way of a gradient where branch and skip have met."""
        drawn = 0.0
        if self.config.norm == "post":
            drawn += added.drift
        elif self.config.norms_output:
            drawn += added.drift * met.part**2
        own = at.branch.scaled(met.part)
        moves = at.moves._replace(own=at.moves.own / self.batch.at.length)
        drawn += at.repeated * (moves.product(own, own) + 2 * moves.product(own, at.lever))
        return Way(met.part, at.lever.plus(own), way.spread + max(drawn, 0.0), met.repeats)

    def _before_back(self, gradient: Array, trace: Trace, name: str, at: _Place) -> Array:
        """Pass a branch's gradient back through the norm that precedes it.

        A stream that is larger than its mean makes this norm pass less back, and later ones too:
        on average the product of both is larger than that of their means.
        """
        normed = trace.norm_1 if name == "norm_1" else trace.norm_2
        if normed is not None:
            rough = at.moves.relative(at.size)
            gain = trace.layer.maps[name]
            gradient = _through(self.block.norm, gradient, normed, gain, rough)
        return gradient * math.exp(at.moves.product(at.branch, at.lever))

    def _split(
        self, gradient: Array, way: Way, added: Added, layer: Layer, name: str
    ) -> tuple[Array, Array]:
        """Return the gradient on the skip and at the branch's own output."""
        factors, norm = layer.factors, self.block.norm
        if name == "norm_1":
            skip, scale = factors.skip_attn, factors.branch_attn
        else:
            skip, scale = factors.skip_mlp, factors.branch_mlp
        if self.config.norm == "post" and added.normed is not None:
            # What came back over a skip is already orthogonal to the norm's directions, up to
            # what the branch has turned the stream by.
            lost = way.fresh + (1 - way.fresh) * added.share / 2
            gain = layer.maps[name]
            gradient = _through(norm, gradient, added.normed, gain, added.rough, lost)
        branch = scale**2 * gradient
        if self.config.norms_output and added.normed is not None:
            gain = layer.maps[f"{name}_out"]
            branch = _through(norm, branch, added.normed, gain, added.rough)
        return skip**2 * gradient, branch


def _through(
    norm: Norm, gradient: Array, normed: Normed, gain: Map, rough: float, lost: float = 1.0
) -> Array:
    """Pass a gradient back through a norm: E 1/|x|² exceeds 1/E|x|² by |x|²'s variance."""
    return norm.backward(gradient, normed, gain, lost) * (1 + rough)
