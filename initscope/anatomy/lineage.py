"""Walking back from a tensor: the projections behind it, and which part of one it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from initscope.anatomy.marks import Call, Facts, Mark, View


def ancestors(call: Call) -> Iterator[Call]:
    """Yield the projections behind a projection, inside the block."""
    seen: set[Call] = set()
    waiting = list(call.inputs.boxes) if not call.inputs.on_stream else []
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            yield one
            waiting += one.inputs.boxes if not one.inputs.on_stream else []


def source(facts: Facts | None) -> Mark | None:
    """Return the one output, or part of one, that a tensor comes from."""
    marks = [mark for mark in facts.marks if mark.call and not mark.call.norm] if facts else []
    calls = {mark.call for mark in marks}
    if len(calls) != 1:
        return None
    return Mark(calls.pop(), common([mark.view for mark in marks]))


def common(views: Iterable[View | None]) -> View | None:
    """Return the smallest part of an output that all these parts were cut from."""
    lines = [view.line if view is not None else [] for view in views]
    shared = [view for view in lines[0] if all(view in line for line in lines)] if lines else []
    return shared[0] if shared else None


def numel(mark: Mark | None) -> int:
    """Return the entries of an output or of the part of it that is meant."""
    if mark is None or mark.call is None:
        return 1
    return mark.view.numel if mark.view is not None else mark.call.numel
