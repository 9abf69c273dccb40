"""What names and shapes say of a model: its size, and the site of each parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from initscope.rules.core import Site

HeadsFrom = Literal["given", "saved", "q_norm", "width"]


@dataclass(frozen=True, slots=True)
class Part:
    """One role's share of a fused tensor.

    Along ``axis`` lie ``groups`` equal stretches, each with this role from ``start`` to ``stop``:
    one stretch where q, k and v follow each other, one a head where they alternate.
    """

    axis: int
    groups: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Named:
    """A parameter by its name in the checkpoint.

    ``label`` names its group, whatever the layer: ``q``, ``q.bias``, ``ln_1``, ``ln_1.bias``.
    ``part`` is its share of the tensor, None for the whole.
    """

    name: str
    label: str
    site: Site
    part: Part | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The model's size, and what of its architecture leaves a trace in the names.

    ``heads_from`` says where ``n_head`` comes from; ``width`` is a guess of 64 a head.
    ``layernorm`` is whether a norm has a bias, which an RMSNorm never has.
    """

    n_layer: int
    n_embd: int
    n_head: int
    d_ff: int
    vocab_size: int
    heads_from: HeadsFrom
    gated: bool
    bias: bool
    layernorm: bool
    learned_positions: bool
    untied: bool

    def site(self, role: str, module: str, fans: tuple[int, int], layer: int) -> Site:
        """Return a parameter's place in a model of this size; ``fans``: fan_in and fan_out."""
        return Site(
            role=role, module=module, fan_in=fans[0], fan_out=fans[1], layer=layer,
            n_layer=self.n_layer, n_embd=self.n_embd, n_head=self.n_head,
            d_ff=self.d_ff, vocab_size=self.vocab_size,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What was recognised, and the names of what was not.

    ``missing``: blocks of which no parameter is there, so that the depth is in doubt.
    """

    shape: Shape
    parameters: tuple[Named, ...]
    unmapped: tuple[str, ...]
    missing: tuple[int, ...]
