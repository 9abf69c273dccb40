"""How one panel is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from initscope.captions import listed
from initscope.digest import EMBEDDING, mean
from initscope.plot.panels import (
    GREY,
    MARKS,
    THIN_FROM,
    Panel,
    edge_style,
    line_style,
    theory_style,
)  # fmt: skip
from initscope.profile import Profile
from initscope.theory.band import band

Values = npt.NDArray[np.floating[Any]]


class Drawing:
    """One panel being drawn.

    Args:
        axes: where.
        panel: what.
        profiles: each with its label; a profile's place decides its style.
        theory: predictions, each with the place of the profile that it predicts.
    """

    def __init__(
        self,
        axes: Axes,
        panel: Panel,
        profiles: Sequence[tuple[str, Profile]],
        theory: Sequence[tuple[int, Profile]],
    ) -> None:
        self.axes, self.panel = axes, panel
        self.profiles, self.theory = profiles, theory
        self._layers: list[int] = []
        self._values: list[float] = []  # everything drawn, each at the layer beside it
        self._zero: list[str] = []
        self._lost: list[tuple[int, int]] = []  # (layer, place of the profile)

    def draw(self) -> None:
        """Draw the curves, then what can only be placed once the limits are known."""
        self.axes.set_title(self.panel.curve.title, pad=13)  # room for the crosses' layers
        self.axes.set_ylabel(self.panel.curve.unit)
        for place, (name, profile) in enumerate(self.profiles):
            self._curve(place, name, self.panel.curve.seeds(profile))
        for place, profile in self.theory:
            self._prediction(place, profile)
        self._scale_depth()
        self._scale_values()
        self._references()
        self._crosses()
        self._remarks()

    def _curve(self, place: int, name: str, seeds: pd.DataFrame) -> None:
        if seeds.empty:
            return
        curve = mean(seeds, geometric=self.panel.curve.geometric)
        line, band = self._drawable(curve.to_numpy(float)), self._drawable(seeds.to_numpy(float))
        low, high = np.fmin.reduce(band, axis=1), np.fmax.reduce(band, axis=1)
        style, stride = line_style(place), max(1, len(line) // MARKS)
        marks = (place * stride // len(self.profiles), stride)
        width = 1.5 if len(line) < THIN_FROM else 1.0
        self.axes.plot(curve.index, line, **style, markevery=marks, lw=width, zorder=3)
        self.axes.fill_between(curve.index, low, high, color=style["color"], alpha=0.2, lw=0)
        for drawn in (line, low, high):
            self._hold(curve.index, drawn)
        if self.panel.log and (curve == 0).any():
            self._zero.append(name)
        self._note_loss(place, curve)

    def _note_loss(self, place: int, curve: pd.Series[float]) -> None:
        lost = curve.index[~np.isfinite(curve)]
        if len(lost):
            # A gradient travels from the last layer to the first.
            backward = self.panel.curve.direction == "backward"
            self._lost.append((int(lost[-1 if backward else 0]), place))

    def _prediction(self, place: int, profile: Profile) -> None:
        curve = self.panel.curve.mean(profile)
        line = self._drawable(curve.to_numpy(float))
        self.axes.plot(curve.index, line, **theory_style(place), zorder=4)
        self._hold(curve.index, line)
        band = self._band(profile, len(self.profiles[place][1].run.seeds))
        for low, high in [band] if band is not None else []:
            for edge in (low, high):
                self.axes.plot(edge.index, edge, **edge_style(place), zorder=2)
                self._hold(edge.index, edge.to_numpy(float))

    def _band(
        self, profile: Profile, seeds: int
    ) -> tuple[pd.Series[float], pd.Series[float]] | None:
        """Return the 95 % band of a mean over seeds; None where theory knows none."""
        curve = self.panel.curve
        sites = [s for s in curve.sites if not profile.select(s, curve.direction, "spread").empty]
        if curve.statistic != "variance" or not sites:
            return None
        ends = [_banded(profile, curve.direction, site, seeds) for site in sites]
        low, high = (pd.concat(side).sort_index() for side in zip(*ends, strict=True))
        return low, high

    def _hold(self, layers: pd.Index[int], values: Values) -> None:
        """Remember what the limits must hold and texts should not cover."""
        self._layers += layers.tolist()
        self._values += values.tolist()

    def _drawable(self, values: Values) -> Values:
        """Blank what has no place on the axis."""
        kept = np.isfinite(values) & ((values > 0) | (not self.panel.log))
        return np.where(kept, values, np.nan)

    def _scale_depth(self) -> None:
        """Name the embedding, and number layers in round steps."""
        depth = max(profile.config.n_layer for _, profile in self.profiles)
        step = next(step for step in _steps() if depth / step <= 6)
        ticks = [layer for layer in range(0, depth, step) if layer + 1 >= 0.1 * depth]
        self.axes.set_xlim(EMBEDDING - 0.03 * depth, depth - 1 + 0.03 * depth)
        self.axes.set_xticks([EMBEDDING, *ticks], ["emb", *map(str, ticks)])

    def _scale_values(self) -> None:
        """Leave a margin, and never show less than a decade: noise is no event."""
        values = [value for value in self._values if math.isfinite(value)]
        if not self.panel.log:
            self.axes.set_ylim(min([-0.05, *values]), 1.05)
            return
        if self.panel.healthy:
            values += [self.panel.healthy.low, self.panel.healthy.high]
        if not values:
            self.axes.set_yticks([])
            return
        self.axes.set_yscale("log")
        low, high = math.log10(min(values)), math.log10(max(values))
        margin = max((1 - high + low) / 2, 0.1 * (high - low))
        self.axes.set_ylim(10 ** max(low - margin, -300.0), 10 ** min(high + margin, 300.0))

    def _references(self) -> None:
        """Draw the healthy band and float16's limit, and say what lies beyond."""
        low, high = self.axes.get_ylim()
        if self.panel.healthy:
            healthy = self.panel.healthy
            self.axes.axhspan(healthy.low, healthy.high, color="#009E73", alpha=0.07, lw=0)
            self._rule(healthy.high, f"{healthy.above} ↑", above=True)
            if healthy.below:
                self._rule(healthy.low, f"{healthy.below} ↓", above=False)
        if self.panel.float16 and low < self.panel.float16 < high:
            self._rule(self.panel.float16, "beyond float16 ↑", above=True)

    def _rule(self, value: float, text: str, *, above: bool) -> None:
        self.axes.axhline(value, color=GREY, lw=0.7, ls=(0, (1, 2)), zorder=1)
        side = self._emptier_side(value)
        self.axes.annotate(
            text, (0.995 if side == "right" else 0.005, value), ha=side,
            xycoords=("axes fraction", "data"), xytext=(0, 2 if above else -2.5),
            textcoords="offset points", va="bottom" if above else "top",
            fontsize=6.5, color=GREY, zorder=2,
        )  # fmt: skip

    def _emptier_side(self, value: float) -> Literal["left", "right"]:
        """Say in which half fewer points come near a value, so that a text disturbs less."""
        height = self.axes.transData.transform
        points = height(np.column_stack([self._layers, self._values]))
        place = height((0, value))[1]
        near = np.abs(points[:, 1] - place) < 0.1 * self.axes.bbox.height
        left = np.asarray(self._layers) < np.mean(self.axes.get_xlim())
        return "left" if (near & left).sum() < (near & ~left).sum() else "right"

    def _crosses(self) -> None:
        """Cross the upper edge where a curve ends; the layer stands above while there is room."""
        edge = self.axes.get_xaxis_transform()
        room, free = 0.06 * np.ptp(self.axes.get_xlim()), -math.inf
        for layer, place in sorted(self._lost):
            color = line_style(place)["color"]
            self.axes.plot(
                [layer], [1], transform=edge, marker="X", ms=6.5, mec="white", mew=0.6,
                color=color, clip_on=False, zorder=5,
            )  # fmt: skip
            if layer >= free:
                self.axes.annotate(
                    str(layer), (layer, 1), xycoords=edge, xytext=(0, 4), ha="center",
                    textcoords="offset points", fontsize=7, fontweight="bold", color=color,
                )  # fmt: skip
                free = layer + room

    def _remarks(self) -> None:
        """Say what could not be drawn."""
        if np.isfinite(self._values).any():
            if self._zero:
                self._remark(0.1, f"exactly 0: {listed(self._zero)}")
        else:
            lost, zero = "nowhere finite", "exactly 0"
            self._remark(0.5, lost if self._lost else zero if self._zero else "not recorded")

    def _remark(self, height: float, text: str) -> None:
        self.axes.text(
            0.02, height, text, transform=self.axes.transAxes, fontsize=7.5, color=GREY,
            parse_math=False,
        )  # fmt: skip


def _banded(
    profile: Profile, direction: str, site: str, seeds: int
) -> tuple[pd.Series[float], pd.Series[float]]:
    layers = profile.select(site, direction, "variance").index
    low, high = band(profile, direction, site=site, seeds=seeds)
    return pd.Series(low, layers), pd.Series(high, layers)


def _steps() -> Iterator[int]:
    """Count 1, 2, 5, 10, 20, 50 and so on."""
    for power in count():
        yield from (step * 10**power for step in (1, 2, 5))
