"""The figure as a whole: style, title, legend, and its bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import captions, digest
from initscope.errors import UsageError
from initscope.plot.drawing import Drawing
from initscope.plot.panels import GREY, PANELS, line_style, theory_style
from initscope.profile import Profile

SIZE = (9.6, 5.8)  # inches
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.4",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.8,
    "xtick.color": "0.25",
    "ytick.color": "0.25",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # TrueType: text stays text, as publishers ask
    "svg.hashsalt": "initscope",  # the same figure gives the same bytes
}
_METADATA: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def figure(profiles: Sequence[Profile], *, theory: Sequence[Profile] | None = None) -> Figure:
    """Draw profiles over depth, a line a profile, in six panels.

    Lines are means over seeds (geometric on log axes), bands reach from the lowest seed to the
    highest. A cross at the upper edge marks where a curve stops being finite; a curve that is
    exactly 0, which has no place on a log axis, is named instead.

    Args:
        profiles: what to draw, each at its configuration's own depth.
        theory: predictions, each of the profile of the same rule; unless given, those that stand
            beside the profiles' own readings. Thin dotted lines, the edges of their bands solid.

    Raises:
        UsageError: where there is no profile to draw.
    """
    if not profiles:
        raise UsageError("a figure needs at least one profile")
    names = captions.labels(profiles)
    said = _beside(profiles) if theory is None else _matched(profiles, theory)
    predictions = [(place, prediction) for place, prediction in said if _is_a_line(prediction)]
    with _style():
        fig = Figure(figsize=SIZE, layout="constrained")
        grid = fig.subplots(2, 3)
        for axes, panel in zip(grid.flat, PANELS, strict=True):
            labelled = list(zip(names, profiles, strict=True))
            Drawing(axes, panel, labelled, predictions).draw()
        for axes in grid[1]:
            axes.set_xlabel("layer")
        _title(fig, names)
        _legend(fig, profiles, names, predicted=bool(predictions))
        return fig


def save_bytes(fig: Figure, format: str) -> bytes:  # noqa: A002  (matplotlib's own word)
    """Return a figure as the bytes of a file: the same figure, the same bytes.

    Args:
        fig: what :func:`figure` returned.
        format: ``png``, ``svg`` or ``pdf``.

    Raises:
        UsageError: for another format.
    """
    kind = format.lower().removeprefix(".")
    if kind not in _METADATA:
        raise UsageError(f"a figure is saved as {', '.join(_METADATA)}, not as {format!r}")
    buffer = io.BytesIO()
    with _style():
        fig.savefig(buffer, format=kind, metadata=_METADATA[kind])
    return buffer.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    """Draw alike everywhere, whatever a user's matplotlibrc says."""
    with mpl.style.context(["default", STYLE]):
        yield


def _beside(profiles: Sequence[Profile]) -> list[tuple[int, Profile]]:
    """Return what theory says beside each profile, with its place."""
    said = [(place, digest.prediction(profile)) for place, profile in enumerate(profiles)]
    return [(place, one) for place, one in said if one is not None]


def _matched(profiles: Sequence[Profile], theory: Sequence[Profile]) -> list[tuple[int, Profile]]:
    """Give each prediction the place of the profile that it predicts."""
    rules = [profile.rule for profile in profiles]
    return [
        (rules.index(prediction.rule), prediction)
        for prediction in theory
        if prediction.rule in rules
    ]


def _is_a_line(prediction: Profile) -> bool:
    """Whether there is more to draw than the embedding, where theory holds no further."""
    return any(panel.curve.mean(prediction).count() > 1 for panel in PANELS)


def _title(fig: Figure, names: Sequence[str]) -> None:
    title = fig.suptitle(captions.listed(names, 4), fontsize=12, fontweight="bold")
    title.set_parse_math(False)


def _legend(
    fig: Figure, profiles: Sequence[Profile], names: Sequence[str], *, predicted: bool
) -> None:
    handles = [Line2D([], [], **line_style(place)) for place in range(len(profiles))]
    labels = [_label(*named) for named in zip(names, profiles, strict=True)]
    if predicted:
        handles.append(Line2D([], [], **{**theory_style(0), "color": GREY}))
        labels.append("theory")
    legend = fig.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(labels)),
        title=_caption(profiles, predicted=predicted), title_fontproperties={"size": 8},
    )  # fmt: skip
    legend.get_title().set(multialignment="center", color=GREY)
    for text in [legend.get_title(), *legend.get_texts()]:
        text.set_parse_math(False)


def _label(name: str, profile: Profile) -> str:
    lost = digest.overflow(profile)
    if lost is None:
        return name
    what = "" if lost.direction == "forward" else "gradient, "
    return f"{name} (✕ {what}{captions.place(profile, lost.layer, lost.site)})"


def _caption(profiles: Sequence[Profile], *, predicted: bool) -> str:
    """Say what all profiles share, and how to read lines, bands and shades."""
    common = captions.common_facts(profiles)
    half = (len(common) + 1) // 2
    reading = "shaded: healthy"
    if any(len(profile.run.seeds) > 1 for profile in profiles):
        means = "lines: mean over seeds (geometric on log axes)"
        reading = f"{means}, bands: lowest to highest seed, {reading}"
    if predicted:
        reading += ", thin lines about the theory: its 95 % band"
    lines = [" · ".join(common[:half]), " · ".join(common[half:]), reading]
    return "\n".join(filter(None, lines))
