"""A first look at a model through a few tokens: where its parts are does not depend on how many.

A look at the whole batch costs a third of a training step. A few tokens pass the same modules,
except where a router sends them past some, or the model wants a length of its own: then there is
nothing to go by, and the whole batch is looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from initscope.anatomy import Anatomy, Part, Tap
from initscope.anatomy.modules import is_box
from initscope.resident.feed import Feed

TOKENS = 11  # a length that no other dimension is likely to be a multiple of


def shortened(given: Feed) -> Feed | None:
    """Return a call with the first few tokens of each sequence; None where that is not safe."""
    ids = given.ids
    if ids is None or ids.shape[1] <= 2 * TOKENS or ids.shape[0] % TOKENS == 0:
        return None
    values = [*given.args, *given.kwargs.values()]
    if not all(_can_be_cut(value, ids) for value in values):
        return None
    return Feed(
        tuple(_cut(value) for value in given.args),
        {name: _cut(value) for name, value in given.kwargs.items()},
        _cut(ids),
    )


def _can_be_cut(value: object, ids: Tensor) -> bool:
    """Whether it is a plain setting, or a number a token that is no mask with holes."""
    if not isinstance(value, Tensor):
        return value is None or isinstance(value, bool | int | float | str)
    if value.shape != ids.shape or value.is_floating_point():
        return False
    return bool(value.max() > 1) or bool(value.all())


def _cut(value: Any) -> Any:  # noqa: ANN401 - an argument of any model's
    return value[:, :TOKENS].contiguous() if isinstance(value, Tensor) else value


def stretched(anatomy: Anatomy, tokens: int) -> Anatomy | None:
    """Return what a short look found, for sequences of ``tokens``; None where it saw too little."""
    if not all(_seen_whole(part) for part in anatomy.parts):
        return None
    for part in anatomy.parts:
        taps = [_stretched(tap, tokens) for tap in part.taps]
        if None in taps:
            return None
        part.taps = [tap for tap in taps if tap is not None]
    return anatomy


def _seen_whole(part: Part) -> bool:
    """Whether every projection of a block was called: of experts, a few tokens see some."""
    return part.called >= {m for m in part.module.modules() if is_box(m)}


def _stretched(tap: Tap, tokens: int) -> Tap | None:
    if tap.view is None:
        return tap
    view = tap.view.stretched(TOKENS, tokens)
    return None if view is None else replace(tap, view=view)
