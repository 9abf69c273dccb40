"""Several profiles in one table, a row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd
from rich.console import RenderableType

from initscope import captions, digest
from initscope.captions import Note
from initscope.digest import ATTENTION, EMBEDDING, GRADIENT, MLP
from initscope.notation import LogScale, share
from initscope.profile import Profile
from initscope.table.sheet import Cell, Column, Page, Report, numeric
from initscope.table.view import View


def compare_report(
    profiles: Sequence[Profile],
    *,
    width: int | None = None,
    verdicts: Sequence[str] | None = None,
) -> RenderableType:
    """Show several profiles in one table, a row each.

    Args:
        profiles: what to show, each at its configuration's own depth.
        width: characters to use; the console's unless given.
        verdicts: a word for each profile, for a column of their own.
    """
    views = [View(profile) for profile in profiles]
    return Report(lambda page: _report(page, views, verdicts), width)


def _report(
    page: Page, views: Sequence[View], verdicts: Sequence[str] | None
) -> Iterator[RenderableType]:
    profiles = [view.profile for view in views]
    names = captions.labels(profiles)
    yield page.facts(captions.common_facts(profiles))
    yield ""
    columns = list(_columns(page, views, names))
    if verdicts:
        columns.append(Column(("verdict",), [Cell(verdict) for verdict in verdicts], left=True))
    yield page.table(columns)
    yield ""
    lost = zip(names, map(captions.overflow, profiles), strict=True)
    notes = [Note(name, text, bad=True) for name, text in lost if text]
    yield page.notes([*notes, *page.omissions(columns)])


class _Measure(NamedTuple):
    """A number a profile: its column's header, unit and rank, and how it is found."""

    head: tuple[str, ...]
    unit: str
    rank: int
    of: Callable[[View], float | None]


def _columns(page: Page, views: Sequence[View], names: Sequence[str]) -> Iterator[Column]:
    yield Column(("rule",), [Cell(name) for name in names], left=True)
    yield _sparklines(page, views)
    yield Column(("final", "variance"), numeric(_last(view.residual) for view in views), "x²")
    if any(not view.predicted.empty for view in views):
        cells = numeric(_last(view.predicted) for view in views)
        yield Column(("theory",), cells, "x²", rank=1)
    if any(view.several for view in views):
        cells = [Cell(share(_last(view.spread))) for view in views]
        yield Column(("± over", "seeds"), cells, "rel. sd", rank=4)
    for measure in _MEASURES:
        values = [measure.of(view) for view in views]
        if any(value is not None for value in values):
            yield Column(measure.head, numeric(values), measure.unit, measure.rank)


def _sparklines(page: Page, views: Sequence[View]) -> Column:
    scale = LogScale.around(value for view in views for value in view.residual)
    width = 24 if page.wide else 12
    cells = [Cell(scale.sparkline(list(view.residual), width), "cyan") for view in views]
    return Column(("log variance", "embed → end"), cells, scale.label, rank=1, left=True)


def _last(curve: pd.Series[float]) -> float | None:
    return None if curve.empty else float(curve.iloc[-1])


def _mean(curve: pd.Series[float]) -> float | None:
    return None if curve.empty else float(curve.mean(skipna=False))


def _second_half(view: View) -> float | None:
    return digest.growth(view.residual, view.profile.config.n_layer // 2 - 1)


def _ends(curve: pd.Series[float]) -> float | None:
    """Return the value at the first block over that at the last."""
    blocks = curve[curve.index >= 0][::-1]
    return None if blocks.empty else digest.growth(blocks, int(blocks.index[0]))


_MEASURES = (
    _Measure(("growth", "in all"), "×", 1, lambda view: digest.growth(view.residual, EMBEDDING)),
    _Measure(("growth", "2nd half"), "×", 4, _second_half),
    _Measure(("attention", "branch", "mean"), "/ stream", 6, lambda v: _mean(v.curves[ATTENTION])),
    _Measure(("MLP", "branch", "mean"), "/ stream", 6, lambda v: _mean(v.curves[MLP])),
    _Measure(("token", "cosine"), "at end", 5, lambda view: _last(view.cosine)),
    _Measure(("gradient", "variance"), "first/last", 3, lambda v: _ends(v.curves[GRADIENT])),
    _Measure(("weight", "gradient"), "first/last", 7, lambda view: _ends(view.weight_gradient)),
    _Measure(("loss", "− ln V"), "nat", 4, lambda view: captions.loss_excess(view.profile)),
)
