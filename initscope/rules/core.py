"""Site, Draw, Rule: what an initialisation is, without a single tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DrawKind = Literal["normal", "truncated_normal", "uniform", "orthogonal", "constant"]

# Every role a parameter can have; those in RESIDUAL write to the residual stream.
ROLES = (
    "wte", "wpe", "q", "k", "v", "attn_out", "mlp_gate", "mlp_up", "mlp_down", "head",
    "norm_gain", "norm_bias", "bias",
)  # fmt: skip
RESIDUAL = frozenset({"attn_out", "mlp_down"})
EMBEDDINGS = frozenset({"wte", "wpe", "head"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One parameter's place in the model.

    ``fan_in`` and ``fan_out`` are those of the matrix that the parameter belongs to, so a
    bias knows its layer's fan_in, and by ``module`` (``q``, ``norm_1``) whose bias it is.
    ``layer`` is 0-based; outside the blocks it is -1 before the first and ``n_layer`` after
    the last.
    """

    role: str
    fan_in: int
    fan_out: int
    layer: int
    n_layer: int
    n_embd: int
    n_head: int
    d_ff: int
    vocab_size: int
    module: str = ""


@dataclass(frozen=True, slots=True)
class Draw:
    """How one parameter is filled, with its moments in closed form.

    ``scale`` is the standard deviation (normal), the nominal one before truncation
    (truncated normal), the half-width (uniform), the gain (orthogonal) or the value itself
    (constant). ``cut`` is the truncation in nominal standard deviations; ``span`` the larger
    side of an orthogonal matrix, on which the size of its entries depends.
    """

    kind: DrawKind
    scale: float
    cut: float = math.inf
    span: int = 1

    @classmethod
    def normal(cls, std: float) -> Draw:
        """N(0, std)."""
        return cls("normal", std)

    @classmethod
    def truncated_normal(cls, std: float, cut: float = 2.0) -> Draw:
        """N(0, std) redrawn outside ±cut·std; the variance is *not* restored."""
        return cls("truncated_normal", std, cut=cut)

    @classmethod
    def uniform(cls, bound: float) -> Draw:
        """U(-bound, bound)."""
        return cls("uniform", bound)

    @classmethod
    def orthogonal(cls, gain: float, fan_in: int, fan_out: int) -> Draw:
        """Gain times a Haar-distributed (semi-)orthogonal matrix (Saxe et al. 2013)."""
        return cls("orthogonal", gain, span=max(fan_in, fan_out))

    @classmethod
    def constant(cls, value: float) -> Draw:
        """Every entry equal to value."""
        return cls("constant", value)

    @property
    def mean(self) -> float:
        """Mean of an entry."""
        return self.scale if self.kind == "constant" else 0.0

    @property
    def std(self) -> float:
        """Standard deviation of an entry, exact."""
        return _STD[self.kind](self)

    @property
    def bound(self) -> float:
        """Largest absolute value an entry can take (infinite for a normal)."""
        return _BOUND[self.kind](self)


def truncated_std(cut: float) -> float:
    """Standard deviation of N(0, 1) truncated at ±cut: sqrt(1 - 2 c φ(c) / (2Φ(c) - 1)).

    Source: Johnson, Kotz & Balakrishnan, Continuous Univariate Distributions 1, eq. 13.135.
    """
    if math.isinf(cut):
        return 1.0
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))


_STD: dict[str, Callable[[Draw], float]] = {
    "normal": lambda draw: draw.scale,
    "truncated_normal": lambda draw: draw.scale * truncated_std(draw.cut),
    "uniform": lambda draw: draw.scale / math.sqrt(3),
    "orthogonal": lambda draw: draw.scale / math.sqrt(draw.span),
    "constant": lambda _draw: 0.0,
}
_BOUND: dict[str, Callable[[Draw], float]] = {
    "normal": lambda draw: math.inf if draw.scale else 0.0,
    "truncated_normal": lambda draw: draw.scale * draw.cut,
    "uniform": lambda draw: draw.scale,
    "orthogonal": lambda draw: draw.scale,
    "constant": lambda draw: abs(draw.scale),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipliers:
    """Factors in the forward pass that are part of a method; all 1 for a plain GPT.

    ``embed`` scales the embedding, ``attention`` the logits on top of 1/sqrt(head size),
    ``logits`` the head's output; a block's stream becomes ``skip · x + branch · f(x)``.
    """

    embed: float = 1.0
    attention: float = 1.0
    logits: float = 1.0
    skip_attn: float = 1.0
    branch_attn: float = 1.0
    skip_mlp: float = 1.0
    branch_mlp: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A named initialisation: a pure function from a parameter's site to its draw.

    Args:
        name: what the user types.
        summary: one line, saying also what embeddings, norms and biases get.
        source: paper with equation, or repository with function.
        draw: ``Site -> Draw``, pure and without randomness.
        architecture: fields of :class:`~initscope.config.GPTConfig` that belong to the
            method; what the user asks for overrides them.
        multipliers: ``(config's fields, layer) -> Multipliers``.
    """

    name: str
    summary: str
    source: str
    draw: Callable[[Site], Draw]
    architecture: Mapping[str, Any] = field(default_factory=dict)
    multipliers: Callable[[Site], Multipliers] = field(default=lambda _site: Multipliers())
