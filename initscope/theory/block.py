"""One block on kernels: norm placement, skips and factors (docs/theory.md, §7 and §8)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.sites import block_parameters
from initscope.theory import mlp
from initscope.theory.attention import Attention, Mixed, Passed
from initscope.theory.fluctuation import Fluctuation, Lever, Response, Size, wishart
from initscope.theory.gains import Layer, Map
from initscope.theory.kernels import Batch, Norm, Normed, own
from initscope.theory.mlp import Hidden, Returned

Array = npt.NDArray[np.floating[Any]]

# Relative variance of |f|² that attention's value map brings in, times the width; its output
# map's is that of any normal vector.
_VALUES = 2.0


class Added(NamedTuple):
    """One branch and its sum with the stream.

    ``normed`` is the norm that sandwich puts on the branch, or post on the sum; ``share`` is the
    branch's part of the sum's mean square. ``rough`` is the relative variance of the square that
    the norm divides by, ``drift`` that of its mean over all tokens; ``gain`` is what it answers
    to cosines, ``moves`` the fluctuation of the stream that leaves.
    """

    branch: Array
    normed: Normed | None
    stream: Array
    share: float
    rough: float
    drift: float
    gain: Response
    moves: Fluctuation


class Trace(NamedTuple):
    """Every kernel of one block, in the order of computation."""

    layer: Layer
    pre: Array
    moves: Fluctuation
    norm_1: Normed | None
    mixed: Mixed
    mid: Added
    norm_2: Normed | None
    hidden: Hidden
    post: Added


class Way(NamedTuple):
    """How a gradient came to where it is in the stream.

    ``fresh`` is the part of it that did not come back over a skip; ``lever`` what the stream's
    deviation here does to it, through the norms that it has passed: they divide by a stream that
    this one is part of. ``spread`` is the variance between draws of ln of its mean square over
    all tokens.
    """

    fresh: float
    lever: Lever
    spread: float


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


class Gradients(NamedTuple):
    """The gradient's kernel at every site of one block, and what is known of the last one."""

    post: Array
    down: Array
    mlp: Returned
    norm_2: Array
    mid: Array
    out: Array
    attn: Array
    passed: Passed
    norm_1: Array
    pre: Array
    way: Way


class Block:
    """A block of one architecture, for a batch of tokens."""

    def __init__(self, config: GPTConfig, batch: Batch) -> None:
        self.config, self.batch = config, batch
        self.norm = Norm.of(config)
        self.labels = frozenset(parameter.label for parameter in block_parameters(config, 0))
        self.attention = Attention.of(config, batch)

    def forward(self, stream: Array, moves: Fluctuation, layer: Layer) -> Trace:
        """Carry the stream's kernel (S, P, P + 1) through the block, and how it fluctuates."""
        factors = layer.factors
        norm_1 = self._before(stream, moves, layer, "norm_1")
        x = stream if norm_1 is None else norm_1.kernel
        mixed = self.attention.forward(x, layer, moves.alike(self.size(stream)))
        out = _mapped(mixed.out, layer.maps["attn_out"])
        skips, rough = (factors.skip_attn, factors.branch_attn), _VALUES / self.config.n_embd
        gain = self._attention_gain(x, mixed, layer)
        mid = self._add((stream, moves), out, (layer, "norm_1"), skips, (gain, rough))
        norm_2 = self._before(mid.stream, mid.moves, layer, "norm_2")
        x = mid.stream if norm_2 is None else norm_2.kernel
        hidden = mlp.forward(self.config, x, layer)
        down = _mapped(hidden.act, layer.maps["mlp_down"])
        skips, rough = (factors.skip_mlp, factors.branch_mlp), mlp.roughness(self.config, hidden)
        gain = self._mlp_gain(x, hidden, layer)
        post = self._add((mid.stream, mid.moves), down, (layer, "norm_2"), skips, (gain, rough))
        return Trace(layer, stream, moves, norm_1, mixed, mid, norm_2, hidden, post)

    def size(self, kernel: Array) -> Size:
        """Return a kernel's means over tokens and over pairs."""
        return Size(self.batch.mean(kernel), self.batch.between(kernel))

    def _attention_gain(self, x: Array, mixed: Mixed, layer: Layer) -> Response:
        gain = layer.maps["v"].scale * layer.maps["attn_out"].scale * self.batch.mean(x)
        common = self.size(mixed.common[None])
        return Response(gain * (1 - common.square), gain * (1 - common.shared), 0.0)

    def _mlp_gain(self, x: Array, hidden: Hidden, layer: Layer) -> Response:
        slope = mlp.slope(hidden, layer)
        shared = layer.maps["mlp_down"].scale * self.batch.between(slope) * self.batch.mean(x)
        return Response(0.0, shared, shared)

    def _before(
        self, stream: Array, moves: Fluctuation, layer: Layer, name: str
    ) -> Normed | None:
        if not self.config.norms_input:
            return None
        normed = self.norm.forward(stream, layer.maps[name])
        return self._turned(normed, stream, moves)

    def _turned(self, normed: Normed, stream: Array, moves: Fluctuation) -> Normed:
        """Correct a norm's output for the cosines' bias, which goes with ρ(1 - ρ)."""
        size = self.size(stream)
        rho = size.cosine
        if not 1e-6 < rho < 1 - 1e-6:
            return normed
        roots = np.sqrt(own(stream))
        cosine = stream[..., :-1] / np.maximum(np.multiply.outer(roots, roots), 1e-300)
        bias = moves.bias(size) * cosine * (1 - cosine) / (rho * (1 - rho))
        kernel = normed.kernel.copy()
        square = np.sqrt(own(kernel))
        kernel[..., :-1] += bias * np.multiply.outer(square, square)
        return Normed(kernel, normed.inverse)

    def _add(
        self,
        stream: tuple[Array, Fluctuation],
        branch: Array,
        norm: tuple[Layer, str],
        factors: tuple[float, float],
        response: tuple[Response, float],
    ) -> Added:
        layer, name = norm
        (before, moves), (gain, rough) = stream, response
        skip, scale = factors[0] ** 2, factors[1] ** 2
        normed = None
        added = branch
        relative = drift = 0.0
        width, own_size = 2 / self.config.n_embd, self.size(branch)
        drawn = wishart(own_size, rough)
        if self.config.norm == "sandwich":
            normed = self.norm.forward(branch, layer.maps[f"{name}_out"])
            added = normed.kernel
            ratio = self.batch.mean(added) / max(own_size.square, 1e-300)
            fed = (gain.square / max(own_size.square, 1e-300)) ** 2 * moves.cosine(self.size(before))
            relative = width + rough + fed
            drift = relative * self.batch.coherence(branch)
            gain = gain.normed(own_size, ratio)
            drawn = wishart(own_size, rough + width).normed(own_size, ratio)
            drawn = drawn.plus(wishart(self.size(added), width), -1.0)
        total = skip * before + scale * added
        part, whole = scale * self.batch.mean(added), self.batch.mean(total)
        share = part / whole if whole > 0 else 0.0
        size = self.size(before)
        gain = gain.scaled(scale)
        moves = moves.after(size, gain, skip)
        # The sum of normal features is one, with the sum's kernel.
        moves = moves.plus(drawn.scaled(scale)).plus(wishart(self.size(total), width))
        moves = moves.plus(wishart(size, width).scaled(skip), -1.0)
        if self.config.norm != "post":
            return Added(branch, normed, total, share, relative, drift, gain, moves)
        relative, drift = moves.relative(self.size(total)), self.common(total, moves)
        # Behind the first norm the stream comes centred already.
        uncentred = share if stream[1].square + stream[1].own == 0 else 1.0
        normed = self.norm.forward(total, layer.maps[name], uncentred)
        normed = self._turned(normed, total, moves)
        ratio = self.batch.mean(normed.kernel) / max(whole, 1e-300)
        moves = moves.normed(self.size(total), ratio)
        return Added(branch, normed, normed.kernel, share, relative, drift, gain, moves)

    def backward(self, gradient: Array, way: Way, trace: Trace) -> Gradients:
        """Carry the gradient's kernel from the block's end to its start."""
        layer = trace.layer
        skip, down = self._split(gradient, way, trace.post, layer, "norm_2")
        returned = mlp.backward(self.config, down, trace.hidden, layer)
        at = self._at((trace.mid.stream, trace.mid.moves), trace.post, layer.factors.skip_mlp, way)
        branch = self._before_back(returned.x, trace, "norm_2", at)
        mid = skip + branch
        rough = mlp.roughness_back(self.config, trace.hidden)
        way = self._met(way.spread, (branch, mid), at, trace.post, rough)
        skip, out = self._split(mid, way, trace.mid, layer, "norm_1")
        attn = out * layer.maps["attn_out"].scale
        passed = self.attention.backward(attn, trace.mixed, layer)
        at = self._at((trace.pre, trace.moves), trace.mid, layer.factors.skip_attn, way)
        at = at.turned(self._turning(passed, layer))
        branch = self._before_back(passed.x, trace, "norm_1", at)
        pre = skip + branch
        return Gradients(
            gradient, down, returned, returned.x, mid, out, attn, passed, passed.x, pre,
            self._met(way.spread, (branch, pre), at, trace.mid, _VALUES / self.config.n_embd),
        )  # fmt: skip

    def _at(
        self, stream: tuple[Array, Fluctuation], added: Added, skip: float, way: Way
    ) -> _Place:
        """Return where a branch leaves the stream, on the way back."""
        size = self.size(stream[0])
        divided = self.config.norms_input and size.square > 0
        one = 1 / size.square if divided else 0.0
        lever = way.lever.back(size, added.gain, skip**2) if divided else way.lever
        return _Place(size, stream[1], self.batch.repeated(stream[0]), lever, Lever(one, 0.0, one))

    def _turning(self, passed: Passed, layer: Layer) -> float:
        """Part of attention's gradient that came through queries and keys."""
        whole, maps = self.batch.mean(passed.x), layer.maps
        weighed = maps["q"].scale * passed.q + maps["k"].scale * passed.k
        return self.batch.mean(weighed) / whole if whole > 0 else 0.0

    def _met(
        self, spread: float, gradients: tuple[Array, Array], at: _Place, added: Added, rough: float
    ) -> Way:
        """Return the way of a gradient where branch and skip have met."""
        branch, total = gradients
        whole = self.batch.mean(total)
        part = self.batch.mean(branch) / whole if whole > 0 else 1.0
        drawn = part * (2 - part) * 2 / self.config.n_embd * self.batch.coherence(total)
        drawn += part**2 * rough * self.batch.coherence(branch)
        if self.config.norm in {"post", "sandwich"}:
            drawn += added.drift * (part**2 if self.config.norm == "sandwich" else 1.0)
        own = at.branch.scaled(part)
        moves = at.moves._replace(own=at.moves.own / self.batch.at.length)
        drawn += at.repeated * (moves.product(own, own) + 2 * moves.product(own, at.lever))
        return Way(part, at.lever.plus(own), spread + max(drawn, 0.0))

    def common(self, stream: Array, moves: Fluctuation) -> float:
        """Relative variance of a kernel's mean square over all tokens."""
        size = self.size(stream)
        if size.square <= 0:
            return 0.0
        square = moves.square + moves.own / self.batch.at.length
        return max(square, 0.0) / size.square**2 * self.batch.repeated(stream)

    def _before_back(self, gradient: Array, trace: Trace, name: str, at: _Place) -> Array:
        """Pass a branch's gradient back through the norm that precedes it.

        A stream that is larger than its mean makes this norm pass less back, and later ones too:
        on average the product of both is larger than that of their means.
        """
        normed = trace.norm_1 if name == "norm_1" else trace.norm_2
        if normed is None:
            return gradient
        rough = at.moves.relative(at.size)
        gradient = self._through(gradient, normed, trace.layer.maps[name], rough)
        return gradient * math.exp(at.moves.product(at.branch, at.lever))

    def _split(
        self, gradient: Array, way: Way, added: Added, layer: Layer, name: str
    ) -> tuple[Array, Array]:
        """Return the gradient on the skip and at the branch's own output."""
        factors = layer.factors
        if name == "norm_1":
            skip, scale = factors.skip_attn, factors.branch_attn
        else:
            skip, scale = factors.skip_mlp, factors.branch_mlp
        if self.config.norm == "post":
            # What came back over a skip is already orthogonal to the norm's directions, up to
            # what the branch has turned the stream by.
            lost = way.fresh + (1 - way.fresh) * added.share / 2
            gradient = self._through(gradient, added.normed, layer.maps[name], added.rough, lost)
        branch = scale**2 * gradient
        if self.config.norm == "sandwich":
            branch = self._through(branch, added.normed, layer.maps[f"{name}_out"], added.rough)
        return skip**2 * gradient, branch

    def _through(
        self,
        gradient: Array,
        normed: Normed | None,
        gain: Map | None,
        rough: float,
        lost: float = 1.0,
    ) -> Array:
        """Pass a gradient back through a norm: E 1/|x|² exceeds 1/E|x|² by |x|²'s variance."""
        if normed is None or gain is None:
            return gradient
        passed = self.norm.backward(gradient, normed, gain, lost)
        return passed * (1 + rough)


def _mapped(kernel: Array, linear: Map) -> Array:
    mapped = linear.scale * kernel
    return mapped + linear.shift if linear.shift else mapped
