"""What is said of one role's draw, laid over the draw that a base gives it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from initscope.errors import UsageError
from initscope.rules.core import Draw, Site
from initscope.rules.formula import Formula
from initscope.rules.parts import VECTORS

# What sizes a draw, and the distributions that it can size.
SIZES: dict[str, tuple[str, ...]] = {
    "std": ("normal", "truncated_normal", "uniform", "orthogonal"),
    "bound": ("uniform",),
    "gain": ("orthogonal",),
    "value": ("constant",),
}
CUTS = (0.01, 5.0)  # a narrower cut leaves a uniform, a wider one a normal
CUT = 2.0  # that of torch.nn.init.trunc_normal_ for a std of 1


class Term(NamedTuple):
    """A formula, and the key that it was given for."""

    key: str
    formula: Formula

    def at(self, site: Site, least: float = -math.inf, most: float = math.inf) -> float:
        """Return the formula's number at a place.

        Raises:
            UsageError: where it has none, or one outside these limits.
        """
        try:
            value = self.formula.at(site)
        except UsageError as error:
            raise UsageError(f"{self.key}: {error}") from error
        if not least <= value <= most:
            right = "0 or more" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise UsageError(f"{self.key}: {self.formula.text} is {value:.3g}; it must be {right}")
        return value


@dataclass(frozen=True)
class Change:
    """What is changed of a draw; what is None stays the base's."""

    kind: str | None = None
    quantity: str | None = None
    size: Term | None = None
    cut: Term | None = None

    def apply(self, draw: Draw, site: Site) -> Draw:
        """Return the base's draw as changed at a place."""
        kind = self.kind or ("normal" if draw.kind == "constant" else draw.kind)
        if self.size is not None and self.quantity != "std":
            least = -math.inf if kind == "constant" else 0.0
            return _MAKERS[kind](self.size.at(site, least), site)
        std = _nominal(draw) if self.size is None else self.size.at(site, least=0.0)
        if kind == "truncated_normal":
            return Draw.truncated_normal(std, self._cut(draw, site))
        return _MAKERS[kind](std * _PER_STD[kind](site), site)

    def _cut(self, draw: Draw, site: Site) -> float:
        if self.cut is not None:
            return self.cut.at(site, *CUTS)
        return draw.cut if draw.kind == "truncated_normal" else CUT


def _nominal(draw: Draw) -> float:
    """Return the std; of a truncated normal, that before truncation."""
    return draw.scale if draw.kind == "truncated_normal" else draw.std


_MAKERS: dict[str, Callable[[float, Site], Draw]] = {
    "normal": lambda std, _site: Draw.normal(std),
    "uniform": lambda bound, _site: Draw.uniform(bound),
    "orthogonal": lambda gain, site: Draw.orthogonal(gain, site.fan_in, site.fan_out),
    "constant": lambda value, _site: Draw.constant(value),
}
# What a std is multiplied by to size the distribution as it is sized.
_PER_STD: dict[str, Callable[[Site], float]] = {
    "normal": lambda _site: 1.0,
    "uniform": lambda _site: math.sqrt(3),
    "orthogonal": lambda site: math.sqrt(max(site.fan_in, site.fan_out)),
}


def change(role: str, size: tuple[str, Term] | None, kind: str | None, cut: Term | None) -> Change:
    """Put together what is said of a role's draw.

    Raises:
        UsageError: for what does not go together.
    """
    quantity, term = size or (None, None)
    fitting = SIZES[quantity or "std"]
    if kind is None:
        kind = _implied(fitting, cut)
    elif kind not in fitting:
        wanted = next(name for name, kinds in SIZES.items() if kind in kinds)
        given = f", not by {role}.{quantity}" if quantity else ""
        raise UsageError(f"{role} is {kind}, which is sized by {role}.{wanted}{given}")
    if cut is not None and kind != "truncated_normal":
        raise UsageError(f"{cut.key} cuts a normal, but {role} is {kind}")
    if kind == "orthogonal" and role in VECTORS:
        raise UsageError(f"{role} is a vector; only a matrix can be orthogonal")
    return Change(kind, quantity, term, cut)


def _implied(fitting: tuple[str, ...], cut: Term | None) -> str | None:
    """Return the distribution that a size or a cut can only mean, if any."""
    if len(fitting) == 1:
        return fitting[0]
    return "truncated_normal" if cut is not None else None
