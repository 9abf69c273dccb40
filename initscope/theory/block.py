"""One block on kernels: norms, skips, factors, and how it fluctuates (docs/theory.md, §7, §8)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.sites import block_parameters
from initscope.theory import mlp
from initscope.theory.attention import Attention, Mixed
from initscope.theory.fluctuation import Fluctuation, Response, Size, wishart
from initscope.theory.gains import Layer, Map
from initscope.theory.kernels import Batch, Norm, Normed, own
from initscope.theory.mlp import Hidden

Array = npt.NDArray[np.floating[Any]]


class Stream(NamedTuple):
    """The stream at one place: its kernel, how that fluctuates, and its features' mean (P,)."""

    kernel: Array
    moves: Fluctuation
    mean: Array | float = 0.0


class Added(NamedTuple):
    """One branch and its sum with the stream.

    ``inner`` is the norm before the branch's last map, ``normed`` that which sandwich and output
    put on the branch, or post on the sum; ``share`` is the branch's part of the sum's mean square.
    ``rough`` is the relative variance of the square that ``normed`` divides by, ``drift`` that of
    its mean over all tokens; ``gain`` is what the branch answers to cosines.
    """

    branch: Array
    inner: Normed | None
    normed: Normed | None
    stream: Stream
    share: float
    rough: float
    drift: float
    gain: Response


class Trace(NamedTuple):
    """Every kernel of one block, in the order of computation; ``x_1``, ``x_2`` what branches read.

    ``read`` is the stream that the MLP's branch leaves.
    """

    layer: Layer
    pre: Stream
    norm_1: Normed | None
    x_1: Array
    mixed: Mixed
    mid: Added
    read: Stream
    norm_2: Normed | None
    x_2: Array
    hidden: Hidden
    post: Added


class _Branch(NamedTuple):
    """What a branch computed; ``rough`` is the variance that its weights within bring in."""

    kernel: Array
    inner: Normed | None
    gain: Response
    rough: float


class Block:
    """A block of one architecture, for a batch of tokens."""

    def __init__(self, config: GPTConfig, batch: Batch) -> None:
        self.config, self.batch = config, batch
        self.norm = Norm.of(config)
        self.labels = frozenset(parameter.label for parameter in block_parameters(config, 0))
        self.attention = Attention.of(config, batch)

    def forward(self, stream: Stream, layer: Layer) -> Trace:
        """Carry the stream's kernel (S, P, P + 1) through the block, and how it fluctuates."""
        factors = layer.factors
        norm_1 = self._before(stream, layer, "norm_1")
        x_1 = stream.kernel if norm_1 is None else norm_1.kernel
        alike = stream.moves.alike(self.size(stream.kernel))
        mixed = self.attention.forward(x_1, layer, alike)
        found = self._attention_branch(x_1, mixed, layer)
        scales = factors.skip_attn, factors.branch_attn
        mid = self._add(stream, found, layer, "norm_1", scales)
        read = mid.stream if self.config.branches == "sequential" else stream
        shared = self.config.branches == "shared"
        norm_2 = None if shared else self._before(read, layer, "norm_2")
        x_2 = x_1 if shared else read.kernel if norm_2 is None else norm_2.kernel
        hidden = mlp.forward(self.config, x_2, layer)
        found = self._mlp_branch(x_2, hidden, layer)
        scales = factors.skip_mlp, factors.branch_mlp
        post = self._add(mid.stream, found, layer, "norm_2", scales)
        return Trace(
            layer, stream, norm_1, x_1, mixed, mid, read, norm_2, x_2, hidden, post
        )  # fmt: skip

    def size(self, kernel: Array) -> Size:
        """Return a kernel's means over tokens and over pairs."""
        return Size(self.batch.mean(kernel), self.batch.between(kernel))

    def common(self, stream: Stream) -> float:
        """Relative variance of a stream's mean square over all tokens."""
        size = self.size(stream.kernel)
        if size.square <= 0:
            return 0.0
        square = stream.moves.square + stream.moves.own / self.batch.at.length
        return max(square, 0.0) / size.square**2 * self.batch.repeated(stream.kernel)

    def inner_norm(self, label: str) -> Norm:
        """Return the norm before a branch's last map."""
        width = self.config.n_embd if label == "norm_attn" else self.config.d_ff
        return self.norm._replace(width=width)

    def _attention_branch(self, x: Array, mixed: Mixed, layer: Layer) -> _Branch:
        inner, last = None, layer.maps["attn_out"]
        gain = layer.maps["v"].scale * last.scale * self.batch.mean(x)
        common = self.size(mixed.common[None])
        answer = Response(gain * (1 - common.square), gain * (1 - common.shared), 0.0)
        rough = mlp.VALUES / self.config.n_embd
        if self.config.inner_norm:
            size = self.size(mixed.out)
            inner = self.inner_norm("norm_attn").forward(mixed.out, layer.maps["norm_attn"])
            ratio = self.batch.mean(inner.kernel) / max(size.square, 1e-300)
            answer = answer.scaled(1 / max(last.scale, 1e-300))
            answer, rough = answer.normed(size, ratio * last.scale), 0.0
        return _Branch(_mapped(inner.kernel if inner else mixed.out, last), inner, answer, rough)

    def _mlp_branch(self, x: Array, hidden: Hidden, layer: Layer) -> _Branch:
        inner, last = None, layer.maps["mlp_down"]
        gain = last.scale * self.batch.between(mlp.slope(hidden, layer)) * self.batch.mean(x)
        rough = mlp.roughness(self.config, hidden)
        if self.config.inner_norm:
            norm = self.inner_norm("norm_mlp")
            centre = mlp.mean(self.config, hidden) if norm.centred else 0.0
            inner = norm.forward(hidden.act, layer.maps["norm_mlp"], mean=centre)
            ratio = self.batch.mean(inner.kernel) / max(self.batch.mean(hidden.act), 1e-300)
            gain, rough = gain * ratio, 0.0
        kernel = _mapped(inner.kernel if inner else hidden.act, last)
        return _Branch(kernel, inner, Response(0.0, gain, gain), rough)

    def _before(self, stream: Stream, layer: Layer, name: str) -> Normed | None:
        if not self.config.norms_input:
            return None
        normed = self.norm.forward(stream.kernel, layer.maps[name], mean=stream.mean)
        return self._turned(normed, stream)

    def _turned(self, normed: Normed, stream: Stream) -> Normed:
        """Correct a norm's output for the cosines' bias, which goes with ρ(1 - ρ)."""
        size = self.size(stream.kernel)
        rho = size.cosine
        if not 1e-6 < rho < 1 - 1e-6:
            return normed
        roots = np.sqrt(own(stream.kernel))
        cosine = stream.kernel[..., :-1] / np.maximum(np.multiply.outer(roots, roots), 1e-300)
        bias = stream.moves.bias(size) * cosine * (1 - cosine) / (rho * (1 - rho))
        kernel, square = normed.kernel.copy(), np.sqrt(own(normed.kernel))
        kernel[..., :-1] += bias * np.multiply.outer(square, square)
        return Normed(kernel, normed.inverse)

    def _add(
        self, stream: Stream, found: _Branch, layer: Layer, name: str, factors: tuple[float, float]
    ) -> Added:
        skip, scale = factors[0] ** 2, factors[1] ** 2
        width, own_size = 2 / self.config.n_embd, self.size(found.kernel)
        normed, added, gain = None, found.kernel, found.gain
        relative = drift = 0.0
        drawn = wishart(own_size, found.rough)
        if self.config.norms_output:
            normed = self.norm.forward(found.kernel, layer.maps[f"{name}_out"])
            added = normed.kernel
            relative = width + found.rough + self._fed(stream, gain, own_size)
            drift = relative * self.batch.coherence(found.kernel)
            ratio = self.batch.mean(added) / max(own_size.square, 1e-300)
            gain = gain.normed(own_size, ratio)
            drawn = wishart(own_size, found.rough + width).normed(own_size, ratio)
            drawn = drawn.plus(wishart(self.size(added), width), -1.0)
        gain = gain.scaled(scale)
        total = skip * stream.kernel + scale * added
        before, after = self.size(stream.kernel), self.size(total)
        share = scale * self.batch.mean(added) / after.square if after.square > 0 else 0.0
        moves = stream.moves.after(before, gain, skip).plus(drawn.scaled(scale))
        # The sum of normal features is one, with the sum's kernel.
        moves = moves.plus(wishart(after, width)).plus(wishart(before, width).scaled(skip), -1.0)
        # So are pairs that are more alike than most, in the square of which those have a part.
        alike = moves.apart - skip**2 * stream.moves.apart
        moves = moves._replace(square=moves.square + width * alike)
        whole = Stream(total, moves, abs(factors[0]) * stream.mean)
        if self.config.norm == "post":
            relative, drift = moves.relative(after), self.common(whole)
            normed = self._after(stream, whole, share, layer.maps[name])
            ratio = self.batch.mean(normed.kernel) / max(after.square, 1e-300)
            centre = 0.0 if self.norm.centred else whole.mean * normed.inverse
            whole = Stream(normed.kernel, moves.normed(after, ratio), centre)
        return Added(found.kernel, found.inner, normed, whole, share, relative, drift, gain)

    def _fed(self, stream: Stream, gain: Response, branch: Size) -> float:
        """Relative variance of a branch's square that it takes over from the stream."""
        if branch.square <= 0:
            return 0.0
        size = self.size(stream.kernel)
        cosines = (gain.square / branch.square) ** 2 * stream.moves.cosine(size)
        return cosines if self.config.norms_input else cosines + stream.moves.relative(size)

    def _after(self, before: Stream, total: Stream, share: float, gain: Map) -> Normed:
        """Normalise a sum; behind the first norm the stream comes centred already."""
        uncentred = share if before.moves.square + before.moves.own == 0 else 1.0
        normed = self.norm.forward(total.kernel, gain, uncentred, total.mean)
        return self._turned(normed, total)


def _mapped(kernel: Array, linear: Map) -> Array:
    mapped = linear.scale * kernel
    return mapped + linear.shift if linear.shift else mapped
