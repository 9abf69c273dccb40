"""One profile, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd
from rich.console import RenderableType

from initscope import captions, digest
from initscope.captions import Note
from initscope.digest import ACTIVATION, ATTENTION, COSINE, EMBEDDING, GRADIENT, MLP
from initscope.notation import LogScale, share
from initscope.profile import Profile
from initscope.table.sheet import BAD, Cell, Column, Page, Report, numeric
from initscope.table.view import View

STEP, LOST = "▲", "✕"


def inspect_report(
    profile: Profile,
    *,
    all_layers: bool = False,
    width: int | None = None,
    verdict: Sequence[str] = (),
) -> RenderableType:
    """Show one profile layer by layer, with what is worth knowing of the whole below.

    Args:
        profile: what to show, at its configuration's own depth.
        all_layers: every layer, rather than a digest of a deep profile.
        width: characters to use; the console's unless given.
        verdict: what was concluded, a line each, the first in bold.
    """
    view = View(profile)
    shown = view.layers if all_layers else _digest(view)
    return Report(lambda page: _report(page, view, shown, verdict), width)


def _digest(view: View) -> list[int]:
    events = [view.step[0]] if view.step else []
    if view.overflow:
        events += [view.overflow.layer - 1, view.overflow.layer]
    return digest.chosen_layers(view.layers, events)


def _report(
    page: Page, view: View, shown: list[int], verdict: Sequence[str]
) -> Iterator[RenderableType]:
    yield page.text(view.profile.rule, "bold")
    yield page.facts(captions.facts(view.profile))
    yield ""
    columns = list(_columns(page, view, shown))
    yield page.table(columns)
    yield ""
    yield page.notes([*view.findings, *_left_out(view, shown), *page.omissions(columns)])
    if verdict:
        yield ""
        yield page.text(verdict[0], "bold")
    for line in verdict[1:]:
        yield page.text(line)


def _left_out(view: View, shown: list[int]) -> Iterator[Note]:
    if len(shown) < len(view.layers):
        text = f"{len(shown)} of {len(view.layers)}, with those that stand out"
        yield Note("rows", f"{text}; --all-layers shows every one")


def _columns(page: Page, view: View, shown: list[int]) -> Iterator[Column]:
    residual = view.residual.reindex(shown)
    yield Column(("layer",), [Cell(_label(view, layer)) for layer in shown])
    yield Column(("residual", "variance"), numeric(_cells(view.residual, shown)), "x²")
    if not view.predicted.empty:
        cells = numeric(_cells(view.predicted, shown))
        yield Column(("theory",), cells, "x²", rank=1)
    if view.several:
        cells = [Cell(share(value)) for value in view.spread.reindex(shown)]
        yield Column(("± over", "seeds"), cells, "rel. sd", rank=5)
    yield _bars(page, view, residual)
    for head, unit, rank, curve in (
        (("attention", "branch"), "/ stream", 1, view.curves[ATTENTION]),
        (("MLP", "branch"), "/ stream", 1, view.curves[MLP]),
        (("MLP act.", "variance"), "x²", 3, view.curves[ACTIVATION]),
        (("token", "cosine"), "", 6, view.curves[COSINE]),
        (("gradient", "variance"), "g²", 2, view.curves[GRADIENT]),
        (("weight", "gradient"), "rms", 7, view.weight_gradient),
    ):
        if not curve.empty:
            yield Column(head, numeric(_cells(curve, shown)), unit, rank)


def _cells(curve: pd.Series[float], shown: list[int]) -> list[float | None]:
    """Return a value a row, None where the curve has no such layer."""
    return [float(curve[layer]) if layer in curve.index else None for layer in shown]


def _label(view: View, layer: int) -> str:
    lost = view.overflow is not None and view.overflow.layer == layer
    step = view.step is not None and view.step[0] == layer
    mark = f"{LOST} " if lost else f"{STEP} " if step else ""
    return mark + ("embed" if layer == EMBEDDING else str(layer))


def _bars(page: Page, view: View, residual: pd.Series[float]) -> Column:
    scale, width = LogScale.around(view.residual), 24 if page.wide else 11
    cells = [Cell(scale.bar(x, width), "cyan" if math.isfinite(x) else BAD) for x in residual]
    return Column(("log scale",), cells, scale.label, rank=4, left=True)
