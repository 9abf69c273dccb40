"""Parameters of one kind, over all layers: what is measured and judged together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from initscope.naming import Named
from initscope.origin.evidence import ORTHOGONAL_BELOW
from initscope.origin.sample import Sample
from initscope.origin.shapes import (
    NORMAL,
    UNIFORM,
    Shape,
    log_geary,
    log_largest,
)

PLAUSIBLE = math.log(1e-9)  # a shape is named unless it is more surprising than that


@dataclass(frozen=True)
class Member:
    """One parameter: where it is, and what it looks like."""

    named: Named
    sample: Sample


@dataclass(frozen=True)
class Group:
    """The parameters of one label, in the order of their layers."""

    label: str
    members: tuple[Member, ...]

    @property
    def count(self) -> int:
        """Entries of all members."""
        return sum(member.sample.count for member in self.members)

    @cached_property
    def stds(self) -> tuple[float, ...]:
        """Standard deviation of each member."""
        return tuple(member.sample.std for member in self.members)

    @property
    def std(self) -> float:
        """Root mean square of the members' stds, each by its entries."""
        return pooled_std(self.members)

    @cached_property
    def distribution(self) -> str:
        """Name the shape of the entries, whatever their size."""
        return describe([member.sample for member in self.members])


def grouped(members: Iterable[Member]) -> list[Group]:
    """Sort parameters into groups, in the order of their first appearance."""
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(member.named.label, []).append(member)
    return [
        Group(label, tuple(sorted(found, key=lambda member: member.named.site.layer)))
        for label, found in groups.items()
    ]


def pooled_std(members: Sequence[Member]) -> float:
    """Root mean square of the members' stds, each by its entries."""
    count = sum(member.sample.count for member in members)
    return math.sqrt(sum(m.sample.std**2 * m.sample.count for m in members) / count)


def pool(samples: Sequence[Sample], scales: Sequence[float]) -> Sample:
    """Return all entries of several parameters as one sample, each in units of its scale."""
    count = sum(sample.count for sample in samples)
    pairs = list(zip(samples, scales, strict=True))
    mean = sum(s.mean / scale * s.count for s, scale in pairs) / count
    second = sum((s.std**2 + s.mean**2) / scale**2 * s.count for s, scale in pairs) / count
    return Sample(
        count=count, mean=mean, std=math.sqrt(max(second - mean**2, 0.0)),
        mean_abs=sum(s.mean_abs / scale * s.count for s, scale in pairs) / count,
        low=min(s.low / scale for s, scale in pairs),
        high=max(s.high / scale for s, scale in pairs),
        rounding=max(s.rounding for s in samples),
    )  # fmt: skip


def describe(samples: Sequence[Sample]) -> str:
    """Name a distribution: ``normal``, ``truncated ±2.0 σ``, ``orthogonal``, ``constant 1``.

    Samples of different spread are compared in units of their own.
    """
    if not all(sample.finite for sample in samples):
        return "not finite"
    if all(sample.constant for sample in samples):
        return _constant({sample.mean for sample in samples})
    random = [sample for sample in samples if not sample.constant]
    if len(random) < len(samples):
        return "mixed"
    if all(sample.alignment < ORTHOGONAL_BELOW for sample in random):
        return "orthogonal"
    return _shape(random)


def _constant(values: set[float]) -> str:
    if len(values) > 1:
        return "constants"
    (value,) = values
    return "zero" if value == 0 else f"constant {value:.3g}"


def _shape(samples: Sequence[Sample]) -> str:
    sample = pool(samples, [sample.std for sample in samples])
    smallest = min(sample.count for sample in samples)
    for name, shape in (("normal", NORMAL), ("uniform", UNIFORM)):
        if _plausible(sample, shape, smallest):
            return name
    # The mean of the bounds: each is in units of a std that is itself off.
    cut = cut_of(sum(sample.max_abs / sample.std for sample in samples) / len(samples))
    if 0 < cut < math.inf and log_geary(sample.mean_abs, sample.count, Shape(cut)) > PLAUSIBLE:
        return f"truncated ±{cut:.1f} σ"
    light = sample.mean_abs > NORMAL.absolute_moment(1)
    return "no known shape" if light else "heavy-tailed"


def _plausible(sample: Sample, shape: Shape, smallest: int) -> bool:
    # A std of its own is off by this much, and the largest entry in its units with it.
    error = 6 * math.sqrt((shape.kurtosis + 2) / (4 * smallest))
    return (
        log_geary(sample.mean_abs, sample.count, shape) > PLAUSIBLE
        and log_largest(sample.max_abs, sample.count, shape, sample.rounding + error) > PLAUSIBLE
    )


def cut_of(bound: float) -> float:
    """Return the cut of the truncated normal whose bound is this many of its own stds.

    >>> round(cut_of(Shape(2.0).bound), 6)
    2.0
    """
    low, high = 1e-3, 50.0
    if not Shape(low).bound < bound < Shape(high).bound:
        return 0.0 if bound <= Shape(low).bound else math.inf
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if Shape(middle).bound < bound else (low, middle)
    return low
