"""The likely cause of a weight that its rule did not draw, read off its factor and its shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from initscope.notation import number
from initscope.origin.faults import FACTORS
from initscope.rules.core import EMBEDDINGS, RESIDUAL

UNIFORM = math.sqrt(3)  # largest entry of a uniform, in standard deviations
CUT = 2.9  # standard deviations that the largest of a thousand normals passes
ENTRIES = 1000


class Weight(NamedTuple):
    """One parameter: what was measured of it, and what its rule says.

    ``bound`` is the largest entry that the rule can draw, infinite where it has none or none is
    known; ``fan_in`` and ``fan_out`` are those of the matrix.
    """

    layer: int
    label: str
    role: str
    fan_in: int
    fan_out: int
    entries: int
    std: float
    max_abs: float
    told: float
    bound: float = math.inf

    @property
    def ratio(self) -> float:
        """Measured over prescribed variance; infinite where there should be none."""
        if self.told == 0:
            return 1.0 if self.std == 0 else math.inf
        return (self.std / self.told) ** 2

    @property
    def too_long(self) -> bool:
        """Whether an entry lies beyond what the rule can draw, more than rounding takes it."""
        return self.max_abs > 1.01 * self.bound

    def slack(self, bound: float) -> float:
        """Return how far, relative, a ratio may be off a mistake's own."""
        return 2 * bound + 10 / math.sqrt(2 * self.entries)


Ratio = Callable[[Weight], float]


def cause(weights: Sequence[Weight], n_layer: int, bound: float) -> str:
    """Name what would have left the weights of one role as they are; "" where nothing known does.

    Args:
        weights: one a layer.
        n_layer: the depth, which residual scaling goes by.
        bound: how far, relative, a std may be off.
    """
    plain = _plain(weights)
    if plain:
        return plain
    named = [text for text, ratio in _mistakes(weights[0], n_layer) if _fit(weights, ratio, bound)]
    if named:
        return " or ".join(named[:2])
    return next((text for text, ratio in _numbers() if _fit(weights, ratio, bound)), _cut(weights))


def _fit(weights: Sequence[Weight], ratio: Ratio, bound: float) -> bool:
    """Whether a mistake's ratio is that of every layer."""
    return all(
        abs(one.ratio / told - 1) <= one.slack(bound) if (told := ratio(one)) > 0 else False
        for one in weights
    )


def _plain(weights: Sequence[Weight]) -> str:
    """Name what the entries themselves show, whatever the factor is."""
    if all(one.std == 0 for one in weights):
        return "every entry is the same: it was left at a constant"
    if all(one.told == 0 for one in weights):
        return "the rule sets it to a constant"
    if all(map(_default, weights)):
        return "PyTorch's default was left, U(±1/√fan_in): it was never initialised"
    if all(one.role in EMBEDDINGS and abs(one.std - 1) < 0.02 for one in weights):
        return "PyTorch's default was left, N(0, 1): it was never initialised"
    longest = max(weights, key=lambda one: one.max_abs)
    if any(one.too_long for one in weights) and 0.9 < longest.ratio < 1.4:
        cut = number(longest.bound / longest.told)
        return (
            f"it is not truncated, as the rule does at {cut} of its std (trunc_normal_ takes its "
            "bounds in absolute units)"
        )
    return ""


def _default(one: Weight) -> bool:
    """Whether a matrix holds what a torch.nn.Linear draws for itself."""
    default = 1 / math.sqrt(one.fan_in)
    std = default / UNIFORM
    near = abs(one.std / std - 1) <= 0.01 + 5 / math.sqrt(2 * one.entries)
    return near and one.max_abs <= default * (1 + 1e-3) and one.role not in {"wte", "wpe"}


def _cut(weights: Sequence[Weight]) -> str:
    """Say that entries end at a bound that the rule does not have."""
    if all(one.entries >= ENTRIES and one.max_abs < CUT * one.std for one in weights):
        most = max(one.max_abs for one in weights)
        if most < 0.99 * min(one.bound for one in weights):
            return (
                f"no entry lies beyond ±{number(most)}: a truncation bound in absolute units, or "
                "a uniform"
            )
    return ""


def _mistakes(one: Weight, n_layer: int) -> Iterator[tuple[str, Ratio]]:
    """Yield mistakes of the code, each with the ratio of variances that it leaves."""
    if one.role in RESIDUAL:
        yield f"the residual scaling was lost (2·n_layer = {2 * n_layer})", lambda _: 2.0 * n_layer
        yield "the residual scaling by layer was lost", lambda w: 2.0 * (w.layer + 1)
        yield (
            f"the residual scaling was applied twice (1/(2·n_layer) = 1/{2 * n_layer})",
            lambda _: 0.5 / n_layer,
        )
        yield "the residual scaling by layer was applied twice", lambda w: 0.5 / (w.layer + 1)
        yield (
            "the residual scaling multiplies where it should divide",
            lambda _: (2.0 * n_layer) ** 2,
        )
    else:
        yield (
            "it is scaled with the depth, as only what writes to the stream should be",
            lambda _: 0.5 / n_layer,
        )
    if one.fan_in != one.fan_out:
        yield (
            f"its fan_in, {one.fan_in}, was taken for {one.fan_out}, its fan_out",
            lambda w: w.fan_in / w.fan_out,
        )
    yield "the variance was given as std", lambda w: w.told**2
    yield "the std was given as variance", lambda w: 1 / w.told


def _numbers() -> Iterator[tuple[str, Ratio]]:
    for name, factor in FACTORS.items():
        yield f"the std is off by ×{name}", _always(factor**2)


def _always(ratio: float) -> Ratio:
    return lambda _weight: ratio
