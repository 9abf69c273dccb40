"""Where a traced tensor comes from: the stream, the output of a module, or a view of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

# Token mixing: what one token hears of others passes one of these.
_MIXING = frozenset({
    "scaled_dot_product_attention", "conv1d", "cumsum", "fft", "rfft", "flex_attention",
})  # fmt: skip
PRODUCTS = frozenset({"matmul", "__matmul__", "bmm", "baddbmm", "einsum"})
ACTIVATIONS = {
    "gelu": "gelu", "silu": "silu", "relu": "relu", "relu_": "relu", "tanh": "gelu_tanh",
    "gelu_tanh": "gelu_tanh", "mish": "mish", "softplus": "softplus", "sigmoid": "sigmoid",
    "leaky_relu": "leaky_relu", "elu": "elu",
}  # fmt: skip
SQUARES = frozenset({"square", "pow", "square_", "pow_", "__pow__"})


@dataclass(frozen=True, eq=False)
class View:
    """A part of a module's output, as strides into it; views of views know their parent.

    ``row`` is the number of entries of the output that belong to one token.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    parent: View | None = None
    row: int = 0

    def of(self, whole: Tensor) -> Tensor:
        """Cut the same part out of another output of that shape."""
        return whole.as_strided(self.size, self.stride, whole.storage_offset() + self.offset)

    def stretched(self, tokens: int, to: int) -> View | None:
        """Return the same part of an output (B, to, row), for that of one (B, tokens, row).

        None where it is cut otherwise than within tokens.
        """
        sizes, strides = [], []
        for size, stride in zip(self.size, self.stride, strict=True):
            if size == 1 or stride < self.row:  # within a token, or one sequence alone
                sizes.append(size)
                strides.append(stride)
            elif stride == self.row and size % tokens == 0:  # tokens, or those of all sequences
                sizes.append(size // tokens * to)
                strides.append(stride)
            elif stride == self.row * tokens:  # sequences
                sizes.append(size)
                strides.append(self.row * to)
            else:
                return None
        inside = 0 <= self.offset < self.row
        return View(tuple(sizes), tuple(strides), self.offset, row=self.row) if inside else None

    @property
    def numel(self) -> int:
        """Number of its entries."""
        number = 1
        for length in self.size:
            number *= length
        return number

    @property
    def line(self) -> list[View]:
        """The view and those that it was cut from, the nearest first."""
        return [self, *(self.parent.line if self.parent is not None else [])]


@dataclass(eq=False)
class Call:
    """One call of a module inside a block: the ``count``-th of that module there."""

    path: str
    module: nn.Module
    count: int
    norm: bool
    inputs: Facts
    width: int = 0
    numel: int = 0
    entered: bool = True  # whether its first positional argument is its input
    rms: Tensor | None = None


class Mark(NamedTuple):
    """A source: a call's output (or a part of it), or the stream itself where there is no call."""

    call: Call | None
    view: View | None = None


STREAM = Mark(None)


@dataclass(frozen=True)
class Facts:
    """What is known of a tensor.

    ``mixed``: tokens have met since the last projection. ``scores``: the two factors of the
    attention logits that it is, or whose softmax it is. ``alias``: it shares memory with the
    module's output that it comes from. ``act``: the activation passed since then.
    ``rms``: that of the stream when it was last added to or normalised, whatever factor came since.
    """

    marks: frozenset[Mark] = frozenset()
    mixed: bool = False
    scores: tuple[Facts, Facts] | None = None
    act: str = ""
    alias: bool = False
    rms: Tensor | None = None

    @property
    def on_stream(self) -> bool:
        """Whether the stream reaches the tensor past no projection."""
        return STREAM in self.marks

    @property
    def boxes(self) -> list[Call]:
        """The projections that it comes from."""
        return _calls(self, norm=False)

    @property
    def norms(self) -> list[Call]:
        """The norms passed since the last projection."""
        return _calls(self, norm=True)


def _calls(facts: Facts, *, norm: bool) -> list[Call]:
    found = (mark.call for mark in facts.marks)
    return list(dict.fromkeys(call for call in found if call is not None and call.norm is norm))


def in_place(name: str) -> bool:
    """Whether an operation changes its first argument."""
    return name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def union(parts: list[Facts], name: str) -> Facts:
    """Return what an operation's output comes from, given its inputs."""
    marks = frozenset().union(*(part.marks for part in parts))
    mixed = any(part.mixed for part in parts) or name in _MIXING
    scores = next((part.scores for part in parts if part.scores is not None), None)
    if name in PRODUCTS and len(parts) > 1:
        first, second = parts[-2:]  # baddbmm has a bias before its factors
        mixed, scores = True, scores or (first, second)
    act = ACTIVATIONS.get(name, "")
    if not act:
        act = next((part.act for part in parts if part.act), "")
        act = "relu2" if act == "relu" and name in SQUARES else act
    rms = next((part.rms for part in parts if part.rms is not None), None)
    return Facts(marks, mixed, scores, act, rms=rms)


def view_of(known: list[tuple[Tensor, Facts]], x: Tensor) -> Facts | None:
    """Return the part of a module's output that a view is, if it is one."""
    for source, facts in known:
        if not facts.alias or any(is_traceable_wrapper_subclass(one) for one in (source, x)):
            continue
        (mark,) = facts.marks
        if source is not x and source.untyped_storage().data_ptr() == _pointer(x):
            start = source.storage_offset() - (mark.view.offset if mark.view else 0)
            row = mark.call.width if mark.call is not None else 0
            view = View(tuple(x.shape), x.stride(), int(x.storage_offset() - start), mark.view, row)
            return Facts(frozenset({Mark(mark.call, view)}), alias=True)
    return None


def _pointer(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


@dataclass
class BlockTrace:
    """What happened in one block: its calls in order, its end, and the attention in it."""

    path: str
    module: nn.Module
    calls: list[Call] = field(default_factory=list)
    activated: list[tuple[str, Facts]] = field(default_factory=list)
    heads: dict[str, Facts] = field(default_factory=dict)
    n_head: int = 0
    softmax: bool = False
    end: Facts = field(default_factory=Facts)
    width: int = 0
    added: dict[Call, Tensor] = field(default_factory=dict)
