"""From raw reductions to readings, on the host, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.profile import Reading

Raw = npt.NDArray[np.float64]
Values = dict[str, float]

FP16_MAX = 65504.0
BF16_MAX = 3.3895313892515355e38

POWERS = 6  # numbers that a raw reduction about 0 has


class Key(NamedTuple):
    """Where a raw reduction belongs; reductions of one key are parts of one whole."""

    layer: int
    site: str
    direction: str
    kind: str


class Moments(NamedTuple):
    """Number of entries, mean and central moments (means of powers of the deviation).

    What is a mean and nothing else (a share, a cosine, a loss) has the mean alone.
    """

    size: float
    mean: float
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0
    max_abs: float = 0.0


Parts = dict[Key, Moments]


Group = Sequence[tuple[int, Raw]]


def put_together(grouped: Mapping[Key, Group]) -> Parts:
    """Put the raw reductions of each key together: the moments of what this process holds."""
    return {
        key._replace(kind=kind): moments
        for key, group in grouped.items()
        for kind, moments in _PARTS[key.kind](key.kind, group)
    }


def finalise(parts: Parts) -> list[Reading]:
    """Finalise what was put together, in its order."""
    return [
        Reading(key.layer, key.site, key.direction, name, value)
        for key, moments in parts.items()
        for name, value in _FINALISE[key.kind](moments).items()
    ]


def _moments(count: int, raw: Raw) -> Moments:
    """Read what ``moments.central`` or, of six numbers, ``moments.powers`` has reduced to."""
    if len(raw) == POWERS:
        return _about_zero(count, raw)
    scale, mean, m2, *higher = (float(value) for value in raw)
    m3, m4 = higher or (math.nan, math.nan)
    return Moments(count, mean * scale, m2 * scale**2, m3 * scale**3, m4 * scale**4, scale)


def _about_zero(count: int, raw: Raw) -> Moments:
    """Shift means of powers, in a unit, to the mean."""
    unit, largest, mean, p2, p3, p4 = (float(value) for value in raw)
    m2 = p2 - mean**2
    m3 = p3 - 3 * mean * p2 + 2 * mean**3
    m4 = p4 - 4 * mean * p3 + 6 * mean**2 * p2 - 3 * mean**4
    return Moments(count, mean * unit, m2 * unit**2, m3 * unit**3, m4 * unit**4, largest * unit)


def _merge(a: Moments, b: Moments) -> Moments:
    """Merge the moments of two parts (Chan, Golub & LeVeque 1983; Pébay 2008, eqs. 2.1, 3.1)."""
    n = a.size + b.size
    p, q, d = a.size / n, b.size / n, b.mean - a.mean
    m2 = p * a.m2 + q * b.m2 + p * q * d**2
    m3 = p * a.m3 + q * b.m3 + p * q * (p - q) * d**3 + 3 * d * (p * q) * (b.m2 - a.m2)
    m4 = (
        p * a.m4 + q * b.m4
        + p * q * (p * p - p * q + q * q) * d**4
        + 6 * d**2 * p * q * (p * b.m2 + q * a.m2)
        + 4 * d * p * q * (b.m3 - a.m3)
    )  # fmt: skip
    return Moments(n, a.mean + q * d, m2, m3, m4, max_abs=float(np.maximum(a.max_abs, b.max_abs)))


def _whole(group: Group) -> Moments:
    merged = _moments(*group[0])
    for count, raw in group[1:]:
        merged = _merge(merged, _moments(count, raw))
    return merged


def _spread(moments: Moments) -> Values:
    if math.isinf(moments.max_abs):  # an infinite entry: overflow, not merely unknown
        return {"second_moment": math.inf, "variance": math.inf, "mean": math.nan,
                "max_abs": math.inf}  # fmt: skip
    variance = max(moments.m2, 0.0) if not math.isnan(moments.m2) else math.nan
    return {
        "second_moment": variance + moments.mean**2,
        "variance": variance,
        "mean": moments.mean,
        "max_abs": moments.max_abs,
    }


def _kurtosis(moments: Moments) -> Values:
    """Return it where the fourth moments were recorded."""
    if math.isnan(moments.m4) and math.isfinite(moments.m2):
        return {}
    return {"kurtosis": moments.m4 / moments.m2**2 - 3 if moments.m2**2 > 0 else math.nan}


def headroom(max_abs: float, largest: float) -> float:
    """Bits between the largest entry and the largest number of a format; inf for all zeros."""
    if math.isnan(max_abs):
        return math.nan
    if max_abs == 0:
        return math.inf
    return math.log2(largest) - math.log2(max_abs) if math.isfinite(max_abs) else -math.inf


def _activation(moments: Moments) -> Values:
    return {
        **_spread(moments),
        **_kurtosis(moments),
        "headroom_fp16": headroom(moments.max_abs, FP16_MAX),
        "headroom_bf16": headroom(moments.max_abs, BF16_MAX),
    }


def _weight(moments: Moments) -> Values:
    values = _spread(moments)
    std = math.sqrt(values["variance"])
    over = moments.max_abs / std if std > 0 else math.nan
    return {**values, **_kurtosis(moments), "max_over_std": over}


def _product(raw: Raw) -> float:
    """Multiply so that huge and tiny factors meet before either leaves float64's range."""
    return float(raw[0] * raw[1] * raw[4] * raw[2] * raw[3])


def _mean_square(group: Group) -> Moments:
    mean = sum(_product(raw) for _, raw in group) / group[0][0]
    return Moments(group[0][0], mean if math.isnan(mean) else max(mean, 0.0))


def _attention(group: Group) -> list[tuple[str, Moments]]:
    count, (entropy, variance, *rows) = group[0]
    size = rows[0] if rows else count
    return [(kind, Moments(float(size), float(mean))) for kind, mean in
            (("attention_entropy", entropy), ("attention_logit_variance", variance))]  # fmt: skip


def _mean(name: str) -> Callable[[Moments], Values]:
    return lambda moments: {name: moments.mean}


_MEANS = ("token_cosine", "zero_share", "saturated_share", "loss")

# A kind's raw reductions to the moments of what this process holds, and those to values.
_PARTS: dict[str, Callable[[str, Group], list[tuple[str, Moments]]]] = {
    **dict.fromkeys(
        ("activation", "gradient", "weight"), lambda kind, group: [(kind, _whole(group))]
    ),
    **dict.fromkeys(
        _MEANS, lambda kind, group: [(kind, Moments(group[0][0], float(group[0][1][0])))]
    ),
    "weight_gradient": lambda kind, group: [(kind, _mean_square(group))],
    "attention": lambda _, group: _attention(group),
}
_FINALISE: dict[str, Callable[[Moments], Values]] = {
    "activation": _activation,
    "gradient": _spread,
    "weight": _weight,
    "weight_gradient": lambda moments: {"second_moment": moments.mean},
    "attention_entropy": _mean("attention_entropy"),
    "attention_logit_variance": lambda moments: {"attention_logit_std": math.sqrt(moments.mean)},
    **{name: _mean(name) for name in _MEANS},
}
