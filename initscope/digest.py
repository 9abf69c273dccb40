"""What of a profile is shown: curves over depth, the rows worth showing, what overflowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from initscope.glossary import SITES
from initscope.profile import Profile
from initscope.sites import block_parameters

EMBEDDING = -1
SHOWN_LAYERS = 16  # deeper profiles are digested to about this many rows
# Single seeds scatter by a few percent, so a smaller step than this is no event.
NOTABLE_STEP = 1.1

_STRIDES = (2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 200, 250, 500, 1000)
_ORDER = {site: place for place, site in enumerate(SITES)}
_RANGE = ("variance", "second_moment", "max_abs")  # the rest may be undefined without overflow


@dataclass(frozen=True)
class Curve:
    """One statistic over depth, as tables and figures show it.

    ``geometric`` says how seeds are averaged: what spans decades, by the mean of its logarithm.
    """

    title: str
    unit: str
    sites: tuple[str, ...]
    direction: str
    statistic: str
    geometric: bool = True

    def seeds(self, profile: Profile) -> pd.DataFrame:
        """Return a row a layer and a column a seed; no rows where nothing was recorded."""
        parts = [profile.select(site, self.direction, self.statistic) for site in self.sites]
        found = [part for part in parts if not part.empty]
        return pd.concat(found).sort_index() if found else parts[0]

    def mean(self, profile: Profile) -> pd.Series[float]:
        """Return the mean over the seeds, a value a layer."""
        return mean(self.seeds(profile), geometric=self.geometric)


_STREAM = ("embed", "resid_post")
RESIDUAL = Curve("residual variance", "x²", _STREAM, "forward", "variance")
ATTENTION = Curve("attention branch", "rms / stream rms", ("attn_out",), "forward", "branch_ratio")
MLP = Curve("MLP branch", "rms / stream rms", ("mlp_down",), "forward", "branch_ratio")
ACTIVATION = Curve("MLP activation variance", "x²", ("mlp_act",), "forward", "variance")
COSINE = Curve(
    "token cosine", "mean cosine of two tokens", _STREAM, "forward", "token_cosine", geometric=False
)
GRADIENT = Curve("gradient variance", "(nat/x)²", _STREAM, "backward", "variance")
CURVES = (RESIDUAL, ATTENTION, MLP, ACTIVATION, COSINE, GRADIENT)

PREDICTED = "predicted_"  # before the name of a statistic that theory says, not the measurement


def prediction(profile: Profile) -> Profile | None:
    """Return what theory says beside a measurement as a profile of its own; None without."""
    rows = profile.table[profile.table["n_layer"] == profile.config.n_layer]
    told = rows["statistic"].str.startswith(PREDICTED)
    if profile.run.predicted or not told.any():
        return None
    rows = rows[told | (rows["statistic"] == "spread")]
    table = rows.assign(statistic=rows["statistic"].str.removeprefix(PREDICTED))
    run = replace(profile.run, source="theory")
    return replace(profile, run=run, table=table)


def mean(frame: pd.DataFrame, *, geometric: bool) -> pd.Series[float]:
    """Average a row's seeds; one that is not finite shows, and a zero makes the mean 0."""
    if not geometric or frame.shape[1] < 2:
        return frame.mean(axis=1, skipna=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.exp(np.log(frame.to_numpy(float)).mean(axis=1))
    return pd.Series(values, index=frame.index)


def spread(frame: pd.DataFrame) -> pd.Series[float]:
    """Return the relative sd over seeds (sample form); NaN for one seed or after overflow."""
    finite = frame.where(np.isfinite(frame))
    return finite.std(axis=1, skipna=False) / finite.mean(axis=1).abs()


def weight_gradient(profile: Profile) -> pd.Series[float]:
    """Return the rms over all weight-gradient entries of each block, geometric mean over seeds."""
    rows = profile.table
    rows = rows[
        (rows["n_layer"] == profile.config.n_layer)
        & (rows["direction"] == "weight_grad")
        & (rows["statistic"] == "second_moment")
        & rows["layer"].between(0, profile.config.n_layer - 1)
    ]
    sizes = {p.label: math.prod(p.shape) for p in block_parameters(profile.config, 0)}
    keys = ["layer", "seed", "site"]
    rows = rows[rows["site"].isin(sizes)].drop_duplicates(keys, keep="last")
    squares = rows.set_index(keys)["value"].unstack("site")
    size = squares.columns.map(sizes).to_numpy(float)
    rms = np.sqrt((squares * size).sum(axis=1, skipna=False) / size.sum())
    return mean(rms.unstack("seed"), geometric=True)


@dataclass(frozen=True)
class Overflow:
    """The first activation, or else gradient, in the order of computation that is not finite."""

    direction: str
    layer: int
    site: str
    value: float
    seeds: int


def overflow(profile: Profile) -> Overflow | None:
    """Find where a run stops being finite.

    Gradients count only where all activations are finite: what is lost going forward is lost
    going backward too.
    """
    rows = profile.table
    lost = rows[
        (rows["n_layer"] == profile.config.n_layer)
        & rows["statistic"].isin(_RANGE)
        & ~np.isfinite(rows["value"])
    ]
    for direction, sign in (("forward", 1), ("backward", -1)):
        found = lost[lost["direction"] == direction]
        if not found.empty:
            order = sign * (found["layer"] * len(SITES) + found["site"].map(_ORDER).fillna(0))
            first = found.iloc[int(order.to_numpy().argmin())]
            value, seeds = float(first["value"]), found["seed"].nunique()
            return Overflow(direction, int(first["layer"]), str(first["site"]), value, seeds)
    return None


def is_run(profiles: Sequence[Profile]) -> bool:
    """Whether these are the steps of a training run, more than one."""
    return len(profiles) > 1 and all(profile.run.step is not None for profile in profiles)


def continued(run: Sequence[Profile]) -> list[Profile]:
    """Return a training run's profiles without those that a resumed part of it went over again."""
    kept: list[Profile] = []
    for profile in run:
        kept = [one for one in kept if (one.run.step or 0) < (profile.run.step or 0)]
        kept.append(profile)
    return kept


def largest_step(curve: pd.Series[float]) -> tuple[int, float] | None:
    """Return (layer, factor) of the largest change from one layer to the next, up or down.

    None where no step is notable (see :data:`NOTABLE_STEP`) or none can be computed.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.diff(np.log(curve.to_numpy(float)))
    sizes = np.where(np.isfinite(steps), np.abs(steps), 0.0)
    if sizes.max(initial=0.0) < math.log(NOTABLE_STEP):
        return None
    place = int(np.argmax(sizes > sizes.max() - 1e-9))  # the first of equal steps
    return int(curve.index[place + 1]), math.exp(steps[place])


def chosen_layers(layers: Sequence[int], events: Sequence[int]) -> list[int]:
    """Choose the rows of a deep profile: both ends, every k-th layer, and the events."""
    if len(layers) <= SHOWN_LAYERS + 1:
        return list(layers)
    stride = next((k for k in _STRIDES if len(layers) / k <= SHOWN_LAYERS - 4), len(layers))
    regular = {layer for layer in layers if layer % stride == 0}
    return [layer for layer in layers if layer in {layers[0], layers[-1], *regular, *events}]


def growth(curve: pd.Series[float], start: int) -> float | None:
    """Return how many times its value at ``start`` a curve's last value is.

    None where there is nothing to compare with: no such layer, or a zero there.
    """
    first = float(curve.get(start, 0.0))
    return float(curve.iloc[-1]) / first if first != 0 else None
