"""A designed rule: target, prediction and measurement side by side, and why it is as it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from initscope.captions import Note
from initscope.designing import quantities
from initscope.designing.document import depths
from initscope.designing.quantities import SHOWN, Quantities
from initscope.designing.result import Design, Outcome
from initscope.notation import MISSING, number
from initscope.table.sheet import BAD, Cell, Column, Page, Report, numeric

_MARGIN = 16  # what a knob's name takes before a note


def design_report(
    design: Design, outcome: Outcome | None = None, *, width: int | None = None
) -> RenderableType:
    """Show a quantity a row, then how they go with the depth, then the knobs in words.

    Args:
        design: the rule and its prediction.
        outcome: a measurement of it, if there is one.
        width: characters to use; the console's unless given.
    """
    return Report(lambda page: _report(page, design, outcome), width)


def _report(page: Page, design: Design, outcome: Outcome | None) -> Iterator[RenderableType]:
    yield page.text(design.name, "bold")
    yield page.text(design.rule.summary)
    yield ""
    yield page.table(list(_columns(design, outcome)))
    yield ""
    yield page.table(list(_by_depth(design, outcome)))
    yield ""
    yield page.notes(list(_notes(page, design, outcome)))


def _columns(design: Design, outcome: Outcome | None) -> Iterator[Column]:
    names = [name for name in Quantities._fields if not math.isnan(getattr(design.after, name))]
    astray = outcome.astray if outcome else []
    yield Column(("quantity",), [Cell(SHOWN[name]) for name in names], left=True)
    yield Column(("base",), _of(design.before, names), rank=1)
    yield Column(("target",), [Cell(_target(design, name)) for name in names])
    yield Column(("predicted",), _of(design.after, names))
    if outcome is None:
        return
    found = quantities.read(outcome.measured)
    cells = [
        Cell(number(getattr(found, name)), BAD if name in astray else "") for name in names
    ]  # fmt: skip
    yield Column(("measured",), cells)
    yield Column(("expected", "(99.9 %)"), [Cell(_expected(outcome, name)) for name in names])


def _of(found: Quantities, names: Sequence[str]) -> list[Cell]:
    return [Cell(_known(getattr(found, name))) for name in names]


def _known(value: float) -> str:
    return MISSING if math.isnan(value) else number(value)


def _target(design: Design, name: str) -> str:
    wanted = getattr(design.targets, name)
    return number(float(wanted)) if wanted else MISSING


def _expected(outcome: Outcome, name: str) -> str:
    low, high = outcome.expected(name)
    return MISSING if math.isnan(low) else f"{number(low)} to {number(high)}"


def _by_depth(design: Design, outcome: Outcome | None) -> Iterator[Column]:
    profiles = dict.fromkeys(depths(design.predicted), design.predicted)
    profiles |= dict.fromkeys(depths(design.deeper), design.deeper)
    yield Column(("layers",), [Cell(str(depth)) for depth in profiles], left=True)
    for name, head in (("final_variance", "final variance"), ("gradient_ratio", "gradient ratio")):
        said = [
            getattr(quantities.read(profile, depth), name) for depth, profile in profiles.items()
        ]
        if all(map(math.isnan, said)):
            continue
        yield Column((head, "predicted"), numeric(said))
        if outcome:
            known = set(depths(outcome.measured))
            found = [
                getattr(quantities.read(outcome.measured, depth), name) if depth in known else None
                for depth in profiles
            ]
            yield Column((head, "measured"), numeric(found))


def _notes(page: Page, design: Design, outcome: Outcome | None) -> Iterator[Note]:
    for one in design.reasons:
        yield Note(one.key, f"{one.formula}: {one.why}")
        if one.cost:
            yield Note("cost", one.cost)
    if outcome and outcome.astray:
        names = " and ".join(SHOWN[name] for name in outcome.astray)
        yield Note("astray", f"{names}: measured outside what theory expects of a run", bad=True)
    use = f"--rule '{design.inline}'"
    if page.width >= len(use) + _MARGIN:  # in pieces it could not be copied
        yield Note("use", use)
