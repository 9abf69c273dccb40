"""The profiles of a training run: a row a step, and the last one layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd
from rich.console import Group, RenderableType

from initscope import digest
from initscope.captions import Note
from initscope.digest import ATTENTION, EMBEDDING, GRADIENT, MLP
from initscope.notation import LogScale
from initscope.profile import Profile
from initscope.table.layers import inspect_report
from initscope.table.sheet import BAD, Cell, Column, Page, Report, numeric
from initscope.table.view import View
from initscope.verdict import Status, Verdict


def trend_report(
    profiles: Sequence[Profile],
    verdicts: Sequence[Verdict],
    *,
    all_layers: bool = False,
    width: int | None = None,
) -> RenderableType:
    """Show a training run over its steps, and below it its last profile.

    Args:
        profiles: one run's, in the order of their steps.
        verdicts: one for each profile.
        all_layers: every step and layer, rather than a digest of many.
        width: characters to use; the console's unless given.
    """
    numbers = range(len(profiles))
    events = [i for i in numbers if _newly(verdicts, i)]
    shown = list(numbers) if all_layers else digest.chosen_layers(numbers, events)
    rows = [(View(profiles[i]), verdicts[i]) for i in shown]
    over = Report(lambda page: _report(page, rows, len(profiles)), width)
    last = inspect_report(
        profiles[-1], all_layers=all_layers, width=width, verdict=verdicts[-1].lines
    )
    return Group(over, "", last)


def _newly(verdicts: Sequence[Verdict], i: int) -> bool:
    """Whether something is broken that was not in the profile before."""
    before = _codes(verdicts[i - 1]) if i else frozenset()
    return bool(_codes(verdicts[i]) - before)


def _codes(verdict: Verdict) -> frozenset[str]:
    return frozenset(finding.code for finding in verdict.of(Status.BROKEN))


def _report(
    page: Page, rows: Sequence[tuple[View, Verdict]], steps: int
) -> Iterator[RenderableType]:
    first, last = rows[0][0].profile.run, rows[-1][0].profile.run
    text = f"{first.model}: {steps} profiles, steps {first.step} to {last.step}"
    yield page.text(text, "bold")
    yield ""
    columns = list(_columns(page, rows))
    yield page.table(columns)
    notes = [*_left_out(len(rows), steps), *page.omissions(columns)]
    if notes:
        yield ""
        yield page.notes(notes)


def _left_out(shown: int, steps: int) -> Iterator[Note]:
    if shown < steps:
        text = f"{shown} of {steps}, with those that something broke at"
        yield Note("rows", f"{text}; --all-layers shows every one")


class _Measure(NamedTuple):
    """A number a step: its column's header, unit and rank, and how it is found."""

    head: tuple[str, ...]
    unit: str
    rank: int
    of: Callable[[View], float | None]


def _columns(page: Page, rows: Sequence[tuple[View, Verdict]]) -> Iterator[Column]:
    views = [view for view, _ in rows]
    yield Column(("step",), [Cell(str(view.profile.run.step)) for view in views])
    for measure in _MEASURES:
        values = [measure.of(view) for view in views]
        if any(value is not None for value in values):
            yield Column(measure.head, numeric(values), measure.unit, measure.rank)
        if measure is _MEASURES[_FINAL]:
            yield _bars(page, [value or 0.0 for value in values])
    yield Column(("broken",), [_broken(verdict) for _, verdict in rows], left=True)


def _bars(page: Page, values: Sequence[float]) -> Column:
    scale, width = LogScale.around(values), 24 if page.wide else 10
    cells = [Cell(scale.bar(value, width), "cyan") for value in values]
    return Column(("log scale",), cells, scale.label, rank=4, left=True)


def _broken(verdict: Verdict) -> Cell:
    """Name what is broken: the first that is an error, or else a warning, and how many more."""
    found = sorted(verdict.of(Status.BROKEN), key=lambda finding: not finding.failed)
    if not found:
        return Cell("nothing")
    more = f" +{len(found) - 1}" if len(found) > 1 else ""
    return Cell(found[0].name + more, BAD if found[0].failed else "")


def _last(curve: pd.Series[float]) -> float | None:
    return None if curve.empty else float(curve.iloc[-1])


def _reading(site: str, direction: str, statistic: str) -> Callable[[View], float | None]:
    def find(view: View) -> float | None:
        rows = view.profile.select(site, direction, statistic)
        return None if rows.empty else float(rows.iloc[-1].mean())

    return find


def _gradients(view: View) -> float | None:
    """Return the gradient's variance at the first block's end over that at the last's."""
    curve = view.curves[GRADIENT]
    return digest.growth(curve[curve.index > EMBEDDING][::-1], view.profile.config.n_layer - 1)


_FINAL = 1  # the place of the residual variance, beside which its bars stand
_MEASURES = (
    _Measure(("loss",), "nat", 1, _reading("loss", "forward", "loss")),
    _Measure(("final", "variance"), "x²", 0, lambda view: _last(view.residual)),
    _Measure(("gradient", "norm"), "", 1, _reading("model", "weight_grad", "grad_norm")),
    _Measure(("gradient", "variance"), "first/last", 5, _gradients),
    _Measure(("attention", "branch"), "at end", 6, lambda view: _last(view.curves[ATTENTION])),
    _Measure(("MLP", "branch"), "at end", 6, lambda view: _last(view.curves[MLP])),
    _Measure(("token", "cosine"), "at end", 3, lambda view: _last(view.cosine)),
    _Measure(("logits", "max |x|"), "", 2, _reading("logits", "forward", "max_abs")),
)
