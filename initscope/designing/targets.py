"""What a rule is designed for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from initscope.errors import UsageError
from initscope.notation import number


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the designed rule's model is to have at its depth; None leaves a quantity free.

    Args:
        final_variance: of the residual stream after the last block.
        growth: that over the embedding's.
        gradient_ratio: mean square of the gradient entering the first block over that leaving
            the last.
        attention_share: of what all branches add to the stream; 0.5 for as much as the MLP.
        layer_evenness: whether every layer is to add the same, as near as a power of the
            layer's number brings it.

    Raises:
        UsageError: for a number that cannot be right, none at all, or two that one and the
            same knob would have to meet.
    """

    final_variance: float | None = None
    growth: float | None = None
    gradient_ratio: float | None = None
    attention_share: float | None = None
    layer_evenness: bool = False

    def __post_init__(self) -> None:
        """Refuse what no rule could meet."""
        for name in ("final_variance", "growth", "gradient_ratio"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"--{name.replace('_', '-')} must be above 0, not {value:g}")
        if self.attention_share is not None and not 0 < self.attention_share < 1:
            raise UsageError(
                "--branch-shares must be equal, or attention's share between 0 and 1, not "
                f"{self.attention_share:g}"
            )
        if self.growth is not None and self.gradient_ratio is not None:
            raise UsageError(
                "--growth and --gradient-ratio are met by the same std, so name one of them"
            )
        if not any(getattr(self, field.name) for field in fields(self)):
            raise UsageError(
                "design needs a target: --final-variance, --growth, --gradient-ratio, "
                "--branch-shares or --layer-shares"
            )

    @property
    def relative(self) -> str:
        """The target that says how much the branches add beside the embedding, if there is one."""
        given = (name for name in ("growth", "gradient_ratio") if getattr(self, name) is not None)
        return next(given, "")

    @property
    def words(self) -> str:
        """What is asked for, in words."""
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        for name in ("final_variance", "growth", "gradient_ratio", "attention_share"):
            value = getattr(self, name)
            if value is not None:
                yield f"{name.replace('_', ' ')} {number(value)}"
        if self.layer_evenness:
            yield "every layer alike"
