"""Two places with a root between them, on a line whose function may end on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

# Logarithms of the factors that are tried either way: half a decade a step, up to three decades.
STEPS = tuple(place / 2 * math.log(10) for place in range(1, 7))
HALVINGS = 10  # to where a function ends: a thousandth of a step

Function = Callable[[float], float]


def bracket(function: Function) -> tuple[float, float] | None:
    """Return two places where the function's signs differ, the nearest to 0 that are found.

    The function is NaN where it does not hold; None where it has one sign wherever it does.

    >>> bracket(lambda x: x - 2) == (STEPS[0], STEPS[1])
    True
    >>> bracket(lambda x: x - 10) is None
    True
    """
    for sign in (1, -1) if function(0.0) < 0 else (-1, 1):
        before = 0.0
        for here in outwards(function, sign):
            if function(here) * function(before) <= 0:
                return min(here, before), max(here, before)
            before = here
    return None


def outwards(function: Function, sign: int) -> Iterator[float]:
    """Yield places farther and farther from 0 where the function holds, and where it ends."""
    before = 0.0
    for step in STEPS:
        here = sign * step
        if not math.isnan(function(here)):
            yield here
        elif not math.isnan(function(before)):
            yield last(function, before, here)
            return
        before = here


def last(function: Function, holding: float, ended: float) -> float:
    """Return the last place on the way to where the function has ended that it holds at."""
    for _ in range(HALVINGS):
        middle = (holding + ended) / 2
        if math.isnan(function(middle)):
            ended = middle
        else:
            holding = middle
    return holding
