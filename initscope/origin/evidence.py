"""One parameter against one draw: could the draw have made it?"""

from __future__ import annotations

import math
from typing import NamedTuple

from initscope.origin.sample import Sample
from initscope.origin.shapes import (
    ROUNDED,
    Shape,
    log_geary,
    log_largest,
    log_mean,
    log_normal,
    log_variance,
    shape_of,
)
from initscope.rules.core import Draw

ORTHOGONAL_BELOW = 0.1  # alignment; independent entries have 1
_EXACT = 1e-3  # an orthogonal matrix has its std exactly, but for rounding
IMPOSSIBLE = -math.inf


class Evidence(NamedTuple):
    """How surprising the most surprising statistic is: its log p-value, and which it is."""

    log_p: float
    statistic: str


def weigh(sample: Sample, draw: Draw) -> Evidence:
    """Test a parameter against a draw; the smallest p-value of its statistics."""
    if not sample.finite:
        return Evidence(IMPOSSIBLE, "value")
    if draw.std == 0:
        return Evidence(_constant(sample, draw), "value")
    if sample.constant and sample.count > 1:
        return Evidence(IMPOSSIBLE, "std")
    if draw.kind == "orthogonal":
        return _orthogonal(sample, draw)
    tests = _independent(sample, draw, shape_of(draw))
    return min((Evidence(log_p, name) for name, log_p in tests.items()), key=lambda e: e.log_p)


def _constant(sample: Sample, draw: Draw) -> float:
    close = math.isclose(sample.mean, draw.mean, rel_tol=sample.rounding + 1e-6)
    return 0.0 if sample.constant and close else IMPOSSIBLE


def _orthogonal(sample: Sample, draw: Draw) -> Evidence:
    """Entries of an orthogonal matrix depend on each other: the angles tell, not the moments."""
    if not math.isclose(
        sample.std, draw.std, rel_tol=_EXACT + sample.rounding + _off_centre(sample)
    ):
        return Evidence(IMPOSSIBLE, "std")
    orthogonal = sample.pairs == 0 or sample.alignment < ORTHOGONAL_BELOW
    return Evidence(0.0 if orthogonal else IMPOSSIBLE, "angles")


def _off_centre(sample: Sample) -> float:
    """Share of the second moment that is the mean's: the std is taken about the mean."""
    return (sample.mean / sample.std) ** 2


def _independent(sample: Sample, draw: Draw, shape: Shape | None) -> dict[str, float]:
    std, u = draw.std, sample.rounding
    kurtosis = shape.kurtosis if shape else 0.0
    second = (sample.std**2 + sample.mean**2) / std**2
    tests = {
        "std": log_variance(second, sample.count, kurtosis, slack=u * u),
        "mean": log_mean(sample.mean / std, sample.count, slack=u),
        "angles": _angles(sample),
    }
    if shape is not None:
        tests["shape"] = log_geary(sample.mean_abs / math.sqrt(second) / std, sample.count, shape)
        tests["largest"] = log_largest(sample.max_abs / std, sample.count, shape, slack=u)
    return tests


def _angles(sample: Sample) -> float:
    """Test that the rows are as independent as random ones: ``pairs`` · alignment is a χ²."""
    if sample.pairs == 0:
        return 0.0
    freedom = float(sample.pairs)
    spread = 2 / (9 * freedom)
    return log_normal((sample.alignment ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


def log_likelihood(sample: Sample, draw: Draw) -> float:
    """Log-likelihood of all entries; n, Σx² and the largest entry are all that it depends on.

    An orthogonal matrix is given that of independent normals; a constant says nothing.
    """
    if draw.std == 0:
        return 0.0
    if sample.max_abs > draw.bound * (1 + sample.rounding + ROUNDED):
        return IMPOSSIBLE
    shape = shape_of(draw)
    if shape is not None and shape.cut == 0:
        return -sample.count * math.log(2 * draw.bound)
    scale = draw.scale if draw.kind == "truncated_normal" else draw.std
    inside = math.erf(shape.cut / math.sqrt(2)) if shape else 1.0
    quadratic = (sample.std**2 + sample.mean**2) / (2 * scale**2)
    return -sample.count * (quadratic + math.log(scale * inside * math.sqrt(2 * math.pi)))
