"""What an audit found: each tensor with its writes, and the model built in other ways."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from initscope.origin.matching import Judge, Match
from initscope.origin.sample import Sample

Kind = Literal["draw", "change", "created"]

# Ways to fill a tensor that leave nothing to chance.
CONSTANTS = frozenset({
    "fill_", "zero_", "zeros_", "ones_", "constant_", "eye_", "dirac_", "copy_", "zeros", "ones",
    "full",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write to a tensor: by which function, in which line, and how.

    ``by`` is the nearest function outside PyTorch. ``how`` is the function of torch.nn.init, or
    else the operation. ``default`` names the method of PyTorch's that a module was initialised
    by. ``share`` is the part of the tensor that was written, ``cut`` the truncation that was
    asked for in standard deviations, ``dims`` the dimensions of what was drawn.
    """

    by: str
    where: str
    how: str
    kind: Kind = "draw"
    default: str = ""
    share: float = 1.0
    cut: float = math.inf
    dims: int = 0

    @property
    def place(self) -> tuple[str, str]:
        """What two writes by the same line share."""
        return self.by, self.where

    @property
    def chosen(self) -> bool:
        """Whether the model's own code drew random numbers here."""
        return self.kind == "draw" and not self.default and self.how not in CONSTANTS


@dataclass(frozen=True, kw_only=True)
class Held:
    """A parameter or buffer; one that several paths lead to is held once.

    ``writes`` is None where the tensor came from outside PyTorch, so that none could be seen.
    ``sample`` is None where there are no entries.
    """

    paths: tuple[str, ...]
    label: str
    layer: int
    shape: tuple[int, ...]
    writes: tuple[Write, ...] | None
    sample: Sample | None
    buffer: bool = False
    convolution: bool = False

    @property
    def path(self) -> str:
        """The first of its paths."""
        return self.paths[0]

    @property
    def last(self) -> Write | None:
        """The last write, if one was seen."""
        return self.writes[-1] if self.writes else None

    @property
    def written(self) -> float:
        """Share of the tensor that was written, at most 1."""
        return 1.0 if self.writes is None else min(1.0, sum(w.share for w in self.writes))

    @property
    def drawn_by(self) -> Write | None:
        """The write that its numbers come from, whatever scaled them since."""
        whole = [w for w in self.writes or () if w.kind != "change" and w.share > 1 / 2]
        return whole[-1] if whole else None

    @property
    def default(self) -> str:
        """The method of PyTorch's whose draw it still holds; empty if it holds another."""
        drawn, writes = self.drawn_by, self.writes or ()
        if drawn is None or any(not w.default for w in writes[writes.index(drawn) + 1 :]):
            return ""
        return drawn.default

    @property
    def matrix(self) -> bool:
        """Whether it maps features or tokens, so that a rule has something to say of its spread."""
        return not self.buffer and len(self.shape) > 1


class Variant(NamedTuple):
    """The same model with one size changed: (std, entries) by path."""

    size: int
    stds: Mapping[str, tuple[float, int]]
    factors: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class MetaPath:
    """The model built on the meta device, given memory, and initialised by ``how``.

    ``error`` says why that could not be done.
    """

    how: str
    held: tuple[Held, ...] = ()
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that was found.

    Args:
        target: what the user named.
        n_layer: its blocks.
        width: that of its stream.
        held: its parameters and buffers.
        factors: what multiplies a branch in the forward pass, by ``attn_out`` and ``mlp_down``.
        fans: fan_in of the weights that have a role, by path.
        shallower: the model at another depth; None where the depth is fixed.
        narrower: the model at half the width; None where that cannot be built.
        switches: arguments that are on and, by their names, mean muP.
        meta: the model built on the meta device; None where that was not tried.
        matches: the rules of the catalogue, the nearest first.
        asked: the rule that the model should follow.
        judge: what the rules were held against.
        loss_excess: nats by which the initial loss exceeds ln(vocab); NaN if unknown.
        logit_std: standard deviation of the logits; NaN if unknown.
    """

    target: str
    n_layer: int
    width: int
    held: tuple[Held, ...]
    judge: Judge
    matches: tuple[Match, ...] = ()
    asked: Match | None = None
    factors: Mapping[str, float] = field(default_factory=dict)
    fans: Mapping[str, int] = field(default_factory=dict)
    shallower: Variant | None = None
    narrower: Variant | None = None
    switches: tuple[str, ...] = ()
    meta: MetaPath | None = None
    loss_excess: float = math.nan
    logit_std: float = math.nan

    def labelled(self, label: str) -> list[Held]:
        """Return the tensors of one label, by layer."""
        return sorted((h for h in self.held if h.label == label), key=lambda h: h.layer)

    @property
    def rule(self) -> Match | None:
        """The rule of the catalogue that drew every weight, if one can have."""
        return next((match for match in self.matches if match.fits), None)


class Fault(NamedTuple):
    """A mistake: its kind, what is wrong in a sentence, and the tensors at fault."""

    code: str
    text: str
    paths: tuple[str, ...] = ()


class Note(NamedTuple):
    """What is worth knowing and no mistake."""

    label: str
    text: str
