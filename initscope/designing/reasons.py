"""Why each knob stands where it does, and what that costs: a line or two a knob."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from initscope.config import GPTConfig
from initscope.designing.knobs import Knobs, Values
from initscope.designing.quantities import Quantities
from initscope.designing.targets import Targets
from initscope.notation import number

_LOUD = 1.05  # a factor nearer to 1 is no cost worth a line


class Reason(NamedTuple):
    """What is said of one knob: its key, its formula, why, and the cost, if there is one."""

    key: str
    formula: str
    why: str
    cost: str = ""


class Turned(NamedTuple):
    """The knobs where they were left, and what that makes of the model."""

    config: GPTConfig
    targets: Targets
    knobs: Knobs
    values: Values
    before: Quantities
    after: Quantities


def reasons(turned: Turned) -> Iterator[Reason]:
    """Yield what is to be said of each knob that was turned."""
    for key, formula in turned.knobs.branch_formulas(turned.values).items():
        yield Reason(key, formula, _why_branch(turned, key), _cost_branch(turned, key))
    for key, formula in turned.knobs.embedding_formulas(turned.values).items():
        yield Reason(key, formula, _why_embedding(turned), _cost_embedding(turned))


def _why_branch(turned: Turned, key: str) -> str:
    even = "; even by the power of the layer" * bool(turned.values.tilt)
    if turned.config.norm == "post":
        return f"each norm divides stream and gradient by 1 + what the branch adds{even}"
    after, share = turned.after, ""
    if "attn" in key or "mlp" in key:
        part = after.attention_share if "attn" in key else 1 - after.attention_share
        share = f", {part:.0%} of it this one"
    start, end = after.final_variance / after.growth, after.final_variance
    if turned.config.norm == "none" or turned.knobs.skips:
        return f"2·n_layer branches bring {number(start)} to {number(end)}{share}{even}"
    added = f"add {number(end - start)} to the embedding's {number(start)}, as its square"
    return f"2·n_layer branches {added}{share}{even}"


def _cost_branch(turned: Turned, key: str) -> str:
    if turned.knobs.multiplies:
        where = (
            "the gain of the norm after the branch can hold it"
            if turned.config.norms_output else "it is no initialisation"
        )  # fmt: skip
        return f"the forward pass multiplies by it: {where}"
    values = turned.values
    split = {"attn_out": values.split, "mlp_down": 1 / values.split}.get(key.partition(".")[0], 1)
    factor = values.branches * split
    if factor < 1 / _LOUD:
        return (
            f"weights {number(1 / factor)} × smaller: Adam moves every entry alike, so that they "
            "change that much faster for their size"
        )
    before, after = turned.before.gradient_ratio, turned.after.gradient_ratio
    if turned.targets.gradient_ratio is None and after > before * _LOUD:
        return f"the gradient's ratio goes from {number(before)} to {number(after)}"
    return ""


def _why_embedding(turned: Turned) -> str:
    after = turned.after
    start = number(after.final_variance / after.growth)
    if turned.config.norm == "post":
        return "the stream enters the first block as the norms leave it, with a variance of 1"
    return f"the embedding's {start} and what is added make {number(after.final_variance)}"


def _cost_embedding(turned: Turned) -> str:
    if not turned.knobs.scales_embedding:
        return ""
    tied = ", since the head shares the table and a larger std would raise the logits"
    return f"the forward pass multiplies the embedding by it{tied * turned.config.tied}"
