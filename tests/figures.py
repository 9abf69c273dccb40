"""Figures taken apart: what is drawn and written in each panel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope.plot.panels import line_style


def panel(fig: Figure, title: str) -> Axes:
    return next(axes for axes in fig.axes if axes.get_title() == title)


def drawn(axes: Axes, place: int = 0) -> dict[int, float]:
    """Return the place-th profile's curve, by layer."""
    line = next(line for line in axes.lines if line.get_marker() == line_style(place)["marker"])
    return {int(x): float(y) for x, y in points(line)}


def points(line: Line2D) -> npt.NDArray[np.float64]:
    return np.asarray(line.get_xydata(), dtype=float)


def words(axes: Axes) -> set[str]:
    return {text.get_text() for text in axes.texts}


def crosses(axes: Axes) -> list[float]:
    return [float(points(line)[0, 0]) for line in axes.lines if line.get_marker() == "X"]


def legend(fig: Figure) -> list[str]:
    return [text.get_text() for text in fig.legends[0].get_texts()]
