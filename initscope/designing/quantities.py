"""The quantities that a rule can be designed for, read off a profile, predicted or measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from initscope import growth
from initscope.profile import Profile
from initscope.theory.band import MODEL_ERROR

REACH = 3.29  # standard deviations of a normal on either side that hold 99.9 %
# Branches that are loud beside the embedding scatter more than theory's spread says, by up to this
# (python -m benchmarks.designs): what tokens share by chance early on, later layers add to.
LOUD = 1.7


class Quantities(NamedTuple):
    """Those of one depth; NaN where a profile does not say.

    ``final_variance`` is the residual stream's after the last block, ``growth`` that over the
    embedding's, ``gradient_ratio`` the mean square of the gradient entering the first block over
    that leaving the last. Of all that branches add, ``attention_share`` is attention's, and
    ``layer_evenness`` the largest layer's over the smallest's. Seeds are averaged in logs.
    """

    final_variance: float
    growth: float
    gradient_ratio: float
    attention_share: float = math.nan
    layer_evenness: float = math.nan


SHOWN = {
    "final_variance": "final variance",
    "growth": "growth from embedding",
    "gradient_ratio": "gradient, first / last",
    "attention_share": "attention's share",
    "layer_evenness": "layers, most / least",
}


def read(profile: Profile, depth: int = 0) -> Quantities:
    """Read the quantities of one of a profile's depths, its own unless another is named."""
    return Quantities(*(value(profile, name, depth) for name in Quantities._fields))


def value(profile: Profile, name: str, depth: int = 0) -> float:
    """Read one of them."""
    return _READERS[name](profile, depth or profile.config.n_layer)


def _final_variance(profile: Profile, depth: int) -> float:
    """Return the variance after the last block; NaN where theory did not come so far."""
    return _mean(growth.stream(profile, "forward", depth), depth - 1)


def _growth(profile: Profile, depth: int) -> float:
    start = _mean(profile.select("embed", "forward", "variance", n_layer=depth), -1)
    return _final_variance(profile, depth) / start


def _gradient_ratio(profile: Profile, depth: int) -> float:
    return _mean(growth.final_values(profile, "backward"), depth)


def _attention_share(profile: Profile, depth: int) -> float:
    added = _added(profile, depth).sum()
    return float(added["attn_out"] / added.sum()) if added.sum() > 0 else math.nan


def _layer_evenness(profile: Profile, depth: int) -> float:
    added = _added(profile, depth).sum(axis=1)
    return float(added.max() / added.min()) if added.min() > 0 else math.nan


def _added(profile: Profile, depth: int) -> pd.DataFrame:
    """Return what the branches add where theory came to the end; nothing for other depths."""
    added = added_by_layer(profile)
    whole = depth == profile.config.n_layer == len(added)
    return added if whole else added.iloc[:0]


_READERS: dict[str, Callable[[Profile, int], float]] = {
    "final_variance": _final_variance,
    "growth": _growth,
    "gradient_ratio": _gradient_ratio,
    "attention_share": _attention_share,
    "layer_evenness": _layer_evenness,
}


def _mean(frame: pd.DataFrame, row: int) -> float:
    """Return the geometric mean over the seeds of one row; NaN where there is none."""
    if row not in frame.index:
        return math.nan
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(frame.loc[[row]].to_numpy(float)).mean()))


def added_by_layer(profile: Profile) -> pd.DataFrame:
    """Return the mean square of what attention and MLP add to the stream: a row a layer.

    It is taken after the method's factor and after a norm on the branch. Where a skip has a
    factor, both are over that factor, as a branch's ratio is.
    """
    columns = {}
    for site, onto in (("attn_out", "resid_pre"), ("mlp_down", "resid_mid")):
        ratio = profile.select(site, "forward", "branch_ratio")
        below = profile.select(onto, "forward", "second_moment")
        columns[site] = (ratio**2 * below).mean(axis=1)
    return pd.DataFrame(columns)


def tilt(profile: Profile) -> float:
    """Return the power of the layer's number, from 1, that what a layer adds goes by."""
    added = added_by_layer(profile).sum(axis=1)
    x = np.log(added.index.to_numpy(float) + 1)
    x -= x.mean()
    return float(x @ np.log(added.to_numpy()) / (x @ x))


def expected(predicted: Profile, name: str, depth: int = 0, seeds: int = 1) -> tuple[float, float]:
    """Return what holds 99.9 % of measurements of a quantity, by theory's spread and error.

    For a ratio the spreads of both its ends are put together as though they were independent;
    they have a part in common, so that less is nearer the truth. NaN where theory has no spread
    that holds: for the shares, without a norm, and for the gradient's ratio under post-norm.
    """
    depth = depth or predicted.config.n_layer
    if {"none": True, "post": name == "gradient_ratio"}.get(predicted.config.norm):
        return math.nan, math.nan
    middle = value(predicted, name, depth)
    scatter = spread(predicted, name, depth)
    error = MODEL_ERROR["backward" if name == "gradient_ratio" else "forward"]
    reach = REACH * math.sqrt((LOUD * scatter) ** 2 / seeds + error**2)
    middle *= math.exp(-(scatter**2) / 2)  # the mean of a log-normal is above its middle
    return middle * math.exp(-reach), middle * math.exp(reach)


def spread(predicted: Profile, name: str, depth: int) -> float:
    """Return theory's relative standard deviation of a quantity between single seeds."""
    ends = {
        "final_variance": [("resid_post", "forward", -1)],
        "growth": [("resid_post", "forward", -1), ("embed", "forward", 0)],
        "gradient_ratio": [("resid_post", "backward", -1), ("resid_pre", "backward", 0)],
    }.get(name)
    if ends is None:
        return math.nan
    spreads = (
        predicted.select(site, direction, "spread", n_layer=depth).to_numpy(float)[place, 0]
        for site, direction, place in ends
    )
    return math.hypot(*spreads)
