"""Profiles as tables for the terminal: pure functions that return what rich can print."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from rich.console import RenderableType

from initscope import captions, digest
from initscope.captions import Note
from initscope.digest import (
    ACTIVATION,
    ATTENTION,
    COSINE,
    EMBEDDING,
    GRADIENT,
    MLP,
    RESIDUAL,
    Curve,
)  # fmt: skip
from initscope.notation import LogScale, share
from initscope.profile import Profile
from initscope.sheet import BAD, Cell, Column, Page, Report, numeric

WIDE = 110  # from this width on, bars and sparklines take twice the room
STEP, LOST = "▲", "✕"


def inspect_report(
    profile: Profile,
    *,
    all_layers: bool = False,
    width: int | None = None,
    verdict_line: str | None = None,
) -> RenderableType:
    """Show one profile layer by layer, with what is worth knowing of the whole below.

    Args:
        profile: what to show, at its configuration's own depth.
        all_layers: every layer, rather than a digest of a deep profile.
        width: characters to use; the console's unless given.
        verdict_line: what was concluded, for the last line.
    """
    view = _View(profile, all_layers=all_layers)
    return Report(lambda page: _inspect(page, view, verdict_line), width)


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
    views = [_View(profile) for profile in profiles]
    return Report(lambda page: _compare(page, views, verdicts), width)


@dataclass(frozen=True)
class _View:
    """A profile with what both reports take from it, each worked out once."""

    profile: Profile
    all_layers: bool = False

    @cached_property
    def residual(self) -> pd.Series[float]:
        return RESIDUAL.mean(self.profile)

    @cached_property
    def curves(self) -> dict[Curve, pd.Series[float]]:
        return {curve: curve.mean(self.profile) for curve in digest.CURVES}

    @cached_property
    def spread(self) -> pd.Series[float]:
        return digest.spread(RESIDUAL.seeds(self.profile))

    @cached_property
    def weight_gradient(self) -> pd.Series[float]:
        return digest.weight_gradient(self.profile)

    @cached_property
    def overflow(self) -> digest.Overflow | None:
        return digest.overflow(self.profile)

    @cached_property
    def step(self) -> tuple[int, float] | None:
        return digest.largest_step(self.residual)

    @cached_property
    def layers(self) -> list[int]:
        return sorted(set().union(*(curve.index for curve in self.curves.values())))

    @cached_property
    def shown(self) -> list[int]:
        if self.all_layers:
            return self.layers
        events = [self.step[0]] if self.step else []
        if self.overflow:
            events += [self.overflow.layer - 1, self.overflow.layer]
        return digest.chosen_layers(self.layers, events)

    @property
    def several(self) -> bool:
        """Whether there is more than one seed, and so a spread."""
        return len(self.profile.run.seeds) > 1


# --- one profile, layer by layer ---


def _inspect(page: Page, view: _View, verdict_line: str | None) -> Iterator[RenderableType]:
    yield page.text(view.profile.rule, "bold")
    yield page.facts(captions.facts(view.profile))
    yield ""
    columns = list(_layer_columns(page, view))
    yield page.table(columns)
    yield ""
    yield page.notes([*captions.findings(view.profile), *_omissions(page, view, columns)])
    if verdict_line:
        yield ""
        yield page.text(verdict_line, "bold")


def _layer_columns(page: Page, view: _View) -> Iterator[Column]:
    residual = view.residual.reindex(view.shown)
    yield Column(("layer",), [Cell(_layer_label(view, layer)) for layer in view.shown])
    yield Column(("residual", "variance"), numeric(residual), "x²")
    if view.several:
        cells = [Cell(share(value)) for value in view.spread.reindex(view.shown)]
        yield Column(("± over", "seeds"), cells, "rel. sd", rank=5)
    yield _bars(page, view, residual)
    for curve, head, unit, rank in (
        (ATTENTION, ("attention", "branch"), "/ stream", 1),
        (MLP, ("MLP", "branch"), "/ stream", 1),
        (ACTIVATION, ("MLP act.", "variance"), "x²", 3),
        (COSINE, ("token", "cosine"), "", 6),
        (GRADIENT, ("gradient", "variance"), "g²", 2),
    ):
        yield from _if_any(view, view.curves[curve], head, unit, rank)
    yield from _if_any(view, view.weight_gradient, ("weight", "gradient"), "rms", 7)


def _if_any(
    view: _View, curve: pd.Series[float], head: tuple[str, ...], unit: str, rank: int
) -> Iterator[Column]:
    """Make a column of a curve, unless nothing of it was recorded."""
    if not curve.empty:
        cells = [curve.get(layer) for layer in view.shown]
        yield Column(head, numeric(cells), unit, rank)


def _layer_label(view: _View, layer: int) -> str:
    lost = view.overflow is not None and view.overflow.layer == layer
    step = view.step is not None and view.step[0] == layer
    mark = f"{LOST} " if lost else f"{STEP} " if step else ""
    return mark + ("embed" if layer == EMBEDDING else str(layer))


def _bars(page: Page, view: _View, residual: pd.Series[float]) -> Column:
    scale, width = LogScale.around(view.residual), 24 if page.width >= WIDE else 11
    cells = [Cell(scale.bar(x, width), "cyan" if math.isfinite(x) else BAD) for x in residual]
    return Column(("log scale",), cells, scale.label, rank=4, left=True)


def _omissions(page: Page, view: _View, columns: Sequence[Column]) -> Iterator[Note]:
    """Say what is not shown, and how to see it."""
    if len(view.shown) < len(view.layers):
        rows = f"{len(view.shown)} of {len(view.layers)}"
        yield Note("rows", f"{rows}, with those that stand out; --all-layers shows every one")
    yield from _narrow(page, columns)


def _narrow(page: Page, columns: Sequence[Column]) -> Iterator[Note]:
    shown = page.fitting(columns)
    names = [column.name for column in columns if column not in shown]
    if names:
        yield Note("columns", f"a wider terminal also shows {', '.join(names)}")


# --- several profiles, a row each ---


def _compare(
    page: Page, views: Sequence[_View], verdicts: Sequence[str] | None
) -> Iterator[RenderableType]:
    profiles = [view.profile for view in views]
    names = captions.labels(profiles)
    yield page.facts(captions.common_facts(profiles))
    yield ""
    columns = list(_rule_columns(page, views, names))
    if verdicts:
        columns.append(Column(("verdict",), [Cell(verdict) for verdict in verdicts], left=True))
    yield page.table(columns)
    lost = [(name, captions.overflow(view.profile)) for name, view in zip(names, views, strict=True)]
    notes = [Note(name, text, bad=True) for name, text in lost if text]
    yield ""
    yield page.notes([*notes, *_narrow(page, columns)])


def _rule_columns(page: Page, views: Sequence[_View], names: Sequence[str]) -> Iterator[Column]:
    yield Column(("rule",), [Cell(name) for name in names], left=True)
    yield _sparklines(page, views)
    yield Column(("final", "variance"), numeric(map(_last, (v.residual for v in views))), "x²")
    if any(view.several for view in views):
        cells = [Cell(share(_last(view.spread))) for view in views]
        yield Column(("± over", "seeds"), cells, "rel. sd", rank=4)
    for head, unit, rank, values in (
        (("growth", "in all"), "×", 1, [_growth(v, EMBEDDING) for v in views]),
        (("growth", "2nd half"), "×", 2, [_growth(v, v.profile.config.n_layer // 2 - 1) for v in views]),
        (("attention", "branch", "mean"), "/ stream", 6, [_mean(v, ATTENTION) for v in views]),
        (("MLP", "branch", "mean"), "/ stream", 6, [_mean(v, MLP) for v in views]),
        (("token", "cosine"), "at end", 5, [_last(v.curves[COSINE]) for v in views]),
        (("gradient", "variance"), "first/last", 3, [_first_to_last(v.curves[GRADIENT]) for v in views]),
        (("weight", "gradient"), "first/last", 7, [_first_to_last(v.weight_gradient) for v in views]),
        (("loss", "− ln V"), "nat", 4, [captions.loss_excess(v.profile) for v in views]),
    ):  # fmt: skip
        if any(value is not None for value in values):
            yield Column(head, numeric(values), unit, rank)


def _sparklines(page: Page, views: Sequence[_View]) -> Column:
    scale, width = LogScale.around(x for view in views for x in view.residual), 24 if page.width >= WIDE else 12
    cells = [Cell(scale.sparkline(list(view.residual), width), "cyan") for view in views]
    return Column(("log variance", "embed → end"), cells, scale.label, rank=1, left=True)


def _last(curve: pd.Series[float]) -> float | None:
    return None if curve.empty else float(curve.iloc[-1])


def _mean(view: _View, curve: Curve) -> float | None:
    values = view.curves[curve]
    return None if values.empty else float(values.mean(skipna=False))


def _growth(view: _View, start: int) -> float | None:
    return digest.growth(view.residual, start)


def _first_to_last(curve: pd.Series[float]) -> float | None:
    """Return the value at layer 0 over that at the last layer."""
    blocks = curve[curve.index >= 0]
    return None if blocks.empty else digest.growth(blocks[::-1], int(blocks.index[-1]))
