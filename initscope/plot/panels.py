"""The panels of the figure: which curves they show, and what is healthy in each."""

from __future__ import annotations

from typing import Any, NamedTuple

from initscope.digest import ACTIVATION, ATTENTION, COSINE, GRADIENT, MLP, RESIDUAL, Curve

# Okabe & Ito 2008, told apart by every common colour vision; the pale yellow comes last.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442",
)  # fmt: skip
# In grey, or where two curves coincide, dashes and markers still tell them apart.
DASHES: tuple[Any, ...] = (
    "-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (9, 2)),
)  # fmt: skip
MARKERS = "os^DvP*<"
MARKS = 6  # markers along a curve, however deep
GREY = "0.35"
THIN_FROM = 100  # layers; beyond, curves that jitter would fill the panel


class Healthy(NamedTuple):
    """A band of values that can be justified without having trained, and what lies beyond."""

    low: float
    high: float
    above: str
    below: str = ""


class Panel(NamedTuple):
    """One set of axes: a curve a profile, and what to compare it with."""

    curve: Curve
    log: bool = True
    healthy: Healthy | None = None
    float16: float | None = None


# A branch larger than its stream overwrites it; one below 2^-9 of it is lost when bfloat16, with
# its 8 significant bits, rounds the sum.
BRANCH = Healthy(2.0**-9, 1.0, "overwrites the stream", "lost in bfloat16")
# Gradients of queries and keys scale with (1 - cosine)²: above 0.9, less than 1 % is left.
TOKENS = Healthy(0.0, 0.9, "tokens collapse")
# With a standard deviation of 65504, a third of the activations is beyond float16.
FLOAT16 = 65504.0**2

# No band for variances: growth since the embedding depends on the embedding's own variance, which
# is arbitrary (the sound rule of GPT-2 grows 3-fold at width 128, 50-fold at 512), and gradients
# scale with the number of tokens.
PANELS = (
    Panel(RESIDUAL, float16=FLOAT16),
    Panel(ATTENTION, healthy=BRANCH),
    Panel(MLP, healthy=BRANCH),
    Panel(ACTIVATION, float16=FLOAT16),
    Panel(GRADIENT),
    Panel(COSINE, log=False, healthy=TOKENS),
)


def line_style(place: int) -> dict[str, Any]:
    """Return how the place-th profile is drawn."""
    return {
        "color": PALETTE[place % len(PALETTE)],
        "linestyle": DASHES[place % len(DASHES)],
        "marker": MARKERS[place % len(MARKERS)],
    }


def edge_style(place: int) -> dict[str, Any]:
    """Return how either edge of the band about a prediction is drawn."""
    return {"color": PALETTE[place % len(PALETTE)], "linestyle": "-", "linewidth": 0.5}


def theory_style(place: int) -> dict[str, Any]:
    """Return how the prediction for the place-th profile is drawn."""
    return {"color": PALETTE[place % len(PALETTE)], "linestyle": (0, (1, 1)), "linewidth": 1.0}
