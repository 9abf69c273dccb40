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
from initscope.theory.gains import Layer, Map
from initscope.theory.kernels import Batch, Norm, Normed
from initscope.theory.mlp import Hidden, Returned

Array = npt.NDArray[np.floating[Any]]

# Relative variance of |f|² beyond a normal vector's 2/width: what the weights that all features
# share bring in. Attention's value and output maps add 2/width each; an MLP's hidden units
# E φ⁴ / (E φ²)² - 1 over their number, which is about this for units of unit variance.
_ROUGH_ATTENTION = 4.0
_ROUGH_UNIT = {"relu": 5.0, "relu2": 22.0, "swiglu": 18.0, "geglu": 18.0}
_ROUGH_OTHER = 6.0


class Added(NamedTuple):
    """One branch and its sum with the stream.

    ``normed`` is the norm that sandwich puts on the branch, or post on the sum; ``share`` is the
    branch's part of the sum's mean square, ``rough`` the sum's excess variance of |x|².
    """

    branch: Array
    normed: Normed | None
    stream: Array
    share: float
    rough: float


class Trace(NamedTuple):
    """Every kernel of one block, in the order of computation."""

    layer: Layer
    pre: Array
    rough: float
    norm_1: Normed | None
    mixed: Mixed
    mid: Added
    norm_2: Normed | None
    hidden: Hidden
    post: Added


class Way(NamedTuple):
    """How a gradient came to where it is in the stream.

    ``fresh`` is the part of it that did not come back over a skip; ``lever`` by how much ln of
    its mean square falls per unit that the stream's mean square here is larger, through the
    norms that it has passed: they divide by a stream that this one is part of.
    """

    fresh: float
    lever: float

    def back(self, skip: float) -> Way:
        """Return the way before a sublayer's sum."""
        return Way(self.fresh, skip**2 * self.lever)


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
        self.rough_attention = _ROUGH_ATTENTION / config.n_embd
        self.rough_mlp = _ROUGH_UNIT.get(config.activation, _ROUGH_OTHER) / config.d_ff

    def forward(self, stream: Array, rough: float, twins: float, layer: Layer) -> Trace:
        """Carry the stream's kernel (S, P, P + 1) through the block.

        ``rough`` is the excess variance of |x|², ``twins`` what repeated tokens add to that of
        the tokens' cosines.
        """
        factors = layer.factors
        norm_1 = self._before(stream, layer, "norm_1")
        mixed = self.attention.forward(stream if norm_1 is None else norm_1.kernel, layer, twins)
        out = _mapped(mixed.out, layer.maps["attn_out"])
        skips = factors.skip_attn, factors.branch_attn
        mid = self._add(stream, out, (layer, "norm_1"), skips, (rough, self.rough_attention))
        norm_2 = self._before(mid.stream, layer, "norm_2")
        hidden = mlp.forward(self.config, mid.stream if norm_2 is None else norm_2.kernel, layer)
        down = _mapped(hidden.act, layer.maps["mlp_down"])
        skips = factors.skip_mlp, factors.branch_mlp
        rough = self.rough_after(mid)
        post = self._add(mid.stream, down, (layer, "norm_2"), skips, (rough, self.rough_mlp))
        return Trace(layer, stream, rough, norm_1, mixed, mid, norm_2, hidden, post)

    def rough_after(self, added: Added) -> float:
        """Return the excess variance of |x|² in the stream: post-norm leaves |x|² none at all."""
        return -2 / self.config.n_embd if self.config.norm == "post" else added.rough

    def _before(self, stream: Array, layer: Layer, name: str) -> Normed | None:
        if self.config.norm not in {"pre", "sandwich"}:
            return None
        return self.norm.forward(stream, layer.maps[name])

    def _add(
        self,
        stream: Array,
        branch: Array,
        norm: tuple[Layer, str],
        factors: tuple[float, float],
        rough: tuple[float, float],
    ) -> Added:
        layer, name = norm
        skip, scale = factors[0] ** 2, factors[1] ** 2
        normed = None
        added = branch
        if self.config.norm == "sandwich":
            normed = self.norm.forward(branch, layer.maps[f"{name}_out"])
            added = normed.kernel
        total = skip * stream + scale * added
        part, whole = scale * self.batch.mean(added), self.batch.mean(total)
        share = part / whole if whole > 0 else 0.0
        excess = (1 - share) ** 2 * rough[0] + share**2 * rough[1]
        if self.config.norm == "post":
            # Behind the first norm the stream comes centred, and with no variance of |x|².
            uncentred = share if rough[0] < 0 else 1.0
            normed = self.norm.forward(total, layer.maps[name], uncentred)
            return Added(branch, normed, normed.kernel, share, excess)
        return Added(branch, normed, total, share, excess)

    def backward(self, gradient: Array, way: Way, trace: Trace) -> Gradients:
        """Carry the gradient's kernel from the block's end to its start."""
        layer = trace.layer
        skip, down = self._split(gradient, way, trace.post, layer, "norm_2")
        returned = mlp.backward(self.config, down, trace.hidden, layer)
        way = way.back(layer.factors.skip_mlp)
        branch = self._before_back(returned.x, trace, "norm_2", way)
        mid = skip + branch
        way = self._met(way, branch, mid, trace.mid.stream)
        skip, out = self._split(mid, way, trace.mid, layer, "norm_1")
        attn = out * layer.maps["attn_out"].scale
        passed = self.attention.backward(attn, trace.mixed, layer)
        way = way.back(layer.factors.skip_attn)
        branch = self._before_back(passed.x, trace, "norm_1", way)
        pre = skip + branch
        return Gradients(
            gradient, down, returned, returned.x, mid, out, attn, passed, passed.x, pre,
            self._met(way, branch, pre, trace.pre),
        )  # fmt: skip

    def _met(self, way: Way, branch: Array, total: Array, stream: Array) -> Way:
        """Return the way of a gradient where branch and skip have met."""
        whole, square = self.batch.mean(total), self.batch.mean(stream)
        part = self.batch.mean(branch) / whole if whole > 0 else 1.0
        divided = self.config.norms_input and square > 0
        return Way(part, way.lever + (part / square if divided else 0.0))

    def _before_back(self, gradient: Array, trace: Trace, name: str, way: Way) -> Array:
        """Pass a branch's gradient back through the norm that precedes it.

        A stream that is larger than its mean makes this norm pass less back, and later ones too:
        on average the product of both is larger than that of their means.
        """
        first = name == "norm_1"
        normed, rough = (trace.norm_1, trace.rough) if first else (trace.norm_2, trace.mid.rough)
        if normed is None:
            return gradient
        gradient = self._through(gradient, normed, trace.layer.maps[name], rough)
        square = self.batch.mean(trace.pre if first else trace.mid.stream)
        return gradient * math.exp((rough + 2 / self.config.n_embd) * square * way.lever)

    def _split(
        self, gradient: Array, way: Way, added: Added, layer: Layer, name: str
    ) -> tuple[Array, Array]:
        """Return the gradient on the skip and at the branch's own output."""
        factors = layer.factors
        if name == "norm_1":
            skip, scale, rough = factors.skip_attn, factors.branch_attn, self.rough_attention
        else:
            skip, scale, rough = factors.skip_mlp, factors.branch_mlp, self.rough_mlp
        if self.config.norm == "post":
            # What came back over a skip is already orthogonal to the norm's directions, up to
            # what the branch has turned the stream by.
            lost = way.fresh + (1 - way.fresh) * added.share / 2
            gradient = self._through(gradient, added.normed, layer.maps[name], added.rough, lost)
        branch = scale**2 * gradient
        if self.config.norm == "sandwich":
            branch = self._through(branch, added.normed, layer.maps[f"{name}_out"], rough)
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
        return passed * (1 + rough + 2 / self.config.n_embd)


def _mapped(kernel: Array, linear: Map) -> Array:
    mapped = linear.scale * kernel
    return mapped + linear.shift if linear.shift else mapped
