"""How a weight's spread follows the depth and the width, from the model built at two of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from initscope.notation import number
from initscope.provenance.result import Audit, Fault, Held, Variant
from initscope.rules.core import RESIDUAL

# Exponents half-way between the laws: 0 (no scaling), -1/2 (1/sqrt(2 n_layer)) and -1 (twice).
SCALED, TWICE = -0.25, -0.75
# T-Fixup and DeepNorm give all of a branch's weights n_layer^-1/4 (Huang et al. 2020; Wang et al.
# 2022): a weight that writes elsewhere is at fault only beyond that.
INSIDE_SCALED = -0.375
ERRORS = 4  # standard errors from a threshold, below which nothing is said
INSIDE = ("q", "k", "v", "qk", "kv", "qkv", "mlp_gate", "mlp_up", "mlp_gate_up")


class Exponent(NamedTuple):
    """The power of a size that a std follows, with its standard error."""

    value: float
    error: float

    def below(self, bound: float) -> bool:
        """Whether it is below a bound beyond its error."""
        return self.value + ERRORS * self.error < bound

    def above(self, bound: float) -> bool:
        """Whether it is above a bound beyond its error."""
        return self.value - ERRORS * self.error > bound


def depth_exponent(audit: Audit, label: str) -> Exponent | None:
    """Return the power of the depth that a label's std follows: of n_layer, and of the layer.

    A rule divides by sqrt(2 n_layer), or each layer by sqrt(2 (layer + 1)); the last block has
    the sum of both. None where the depth is fixed, or the weights are constant.
    """
    by_depth = exponent(audit.labelled(label), audit.shallower, audit.n_layer)
    if by_depth is None:
        return None
    by_layer = _layer_exponent(audit.labelled(label), audit.n_layer)
    return Exponent(by_depth.value + by_layer.value, math.hypot(by_depth.error, by_layer.error))


def scales(audit: Audit, label: str) -> bool:
    """Whether a label's std shrinks with the depth."""
    found = depth_exponent(audit, label)
    return found is not None and found.below(SCALED)


def exponent(held: Iterable[Held], variant: Variant | None, size: int) -> Exponent | None:
    """Return the power of a size that the std follows between a variant and the model."""
    if variant is None or variant.size == size:
        return None
    pairs = [(_std(one), variant.stds[one.path]) for one in held if one.path in variant.stds]
    ours, theirs = _pooled([a for a, _ in pairs]), _pooled([b for _, b in pairs])
    if not (0 < ours[0] < math.inf and 0 < theirs[0] < math.inf):
        return None
    step = math.log(size / variant.size)
    return Exponent(math.log(ours[0] / theirs[0]) / step, _error(ours[1], theirs[1]) / abs(step))


def _layer_exponent(held: Sequence[Held], n_layer: int) -> Exponent:
    first, last = _std(held[0]), _std(held[-1])
    if len(held) < 2 or n_layer < 2 or not (0 < first[0] < math.inf and 0 < last[0] < math.inf):
        return Exponent(0.0, 0.0)
    step = math.log(n_layer)
    return Exponent(math.log(last[0] / first[0]) / step, _error(first[1], last[1]) / step)


def _std(one: Held) -> tuple[float, int]:
    return (one.sample.std, one.sample.count) if one.sample is not None else (0.0, 0)


def _pooled(stds: Sequence[tuple[float, int]]) -> tuple[float, int]:
    count = sum(n for _, n in stds)
    return (math.sqrt(sum(n * s * s for s, n in stds) / count) if count else 0.0), count


def _error(*counts: int) -> float:
    """Standard error of the logarithm of a ratio of stds of normal entries."""
    return math.sqrt(sum(1 / (2 * count) for count in counts))


# --- what is wrong with it ---


def scaling_faults(audit: Audit) -> Iterator[Fault]:
    """Find depth scaling on the wrong weights, lost, upside down or applied twice."""
    found = {label: depth_exponent(audit, label) for label in (*sorted(RESIDUAL), *INSIDE)}
    known = {label: one for label, one in found.items() if one is not None}
    writers = [label for label in known if label in RESIDUAL]
    scaled = [label for label in writers if known[label].below(SCALED)]
    inside = [label for label in INSIDE if label in known and known[label].below(INSIDE_SCALED)]
    if writers and not _zeroed(audit):
        yield from (_in_vain(audit, label, known) for label in inside)
    # Scaling that another weight got by mistake is said once, with that weight.
    lost = [label for label in writers if known[label].above(SCALED) and label not in scaled]
    if scaled and not [label for label in inside if label.startswith("mlp")]:
        yield from (_lost(audit, label, scaled) for label in lost if known[label].below(-SCALED))
    yield from (_grows(audit, label, known[label]) for label in writers
                if known[label].above(-SCALED))  # fmt: skip
    yield from _twice(audit, known)


def _zeroed(audit: Audit) -> bool:
    """Whether a branch's last weight is 0: Fixup then scales those before (Zhang et al. 2019)."""
    return any(
        one.sample is not None and one.sample.constant
        for label in RESIDUAL for one in audit.labelled(label)
    )  # fmt: skip


def _paths(audit: Audit, label: str) -> tuple[str, ...]:
    return tuple(one.path for one in audit.labelled(label))


def _named(audit: Audit, label: str) -> str:
    """Name weights as profiles do, and as the model does: ``mlp_up (layers.*.w3)``."""
    path = re.sub(r"(^|\.)\d+(?=\.)", r"\1*", _paths(audit, label)[0])
    return f"{label} ({path.removesuffix('.weight')})"


def _in_vain(audit: Audit, label: str, known: dict[str, Exponent]) -> Fault:
    writer = "mlp_down" if label.startswith("mlp") else "attn_out"
    if writer not in known:
        other = ""
    elif known[writer].below(SCALED):
        other = (
            f"; {_named(audit, writer)} does, and is scaled as well, so that the branch shrinks "
            "with the depth twice as fast"
        )
    else:
        other = f"; {_named(audit, writer)} does, and is not"
    text = (
        f"{_named(audit, label)} is depth-scaled (std follows n_layer^{known[label].value:.2f}), "
        f"and does not write to the residual stream{other}"
    )
    return Fault("scaled-in-vain", text, _paths(audit, label))


def _lost(audit: Audit, label: str, scaled: Sequence[str]) -> Fault:
    n = len(audit.labelled(label))
    std = number(_pooled([_std(one) for one in audit.labelled(label)])[0])
    text = (
        f"the residual scaling was lost: {n} of {n} {_named(audit, label)} have std {std} at any "
        f"depth, while {' and '.join(scaled)} shrinks with it; both write to the residual stream"
    )
    return Fault("scaling-lost", text, _paths(audit, label))


def _grows(audit: Audit, label: str, one: Exponent) -> Fault:
    text = (
        f"{_named(audit, label)} writes to the residual stream and grows with the depth (std "
        f"follows n_layer^{one.value:.2f}): the scaling multiplies where it should divide"
    )
    return Fault("grows-with-depth", text, _paths(audit, label))


def _twice(audit: Audit, known: dict[str, Exponent]) -> Iterator[Fault]:
    for label in sorted(RESIDUAL & known.keys()):
        if known[label].below(TWICE):
            text = (
                f"the depth factor of {_named(audit, label)} is applied twice: its std follows "
                f"n_layer^{known[label].value:.2f}, where n_layer^-0.50 is enough"
            )
            yield Fault("scaled-twice", text, _paths(audit, label))


def multiplier_faults(audit: Audit) -> Iterator[Fault]:
    """Find branches that the forward pass shrinks with the depth, as their weights do already."""
    for label in sorted(RESIDUAL):
        std, forward = depth_exponent(audit, label), _forward_exponent(audit, label)
        if std is not None and std.below(SCALED) and forward < SCALED:
            text = (
                f"the depth factor of {_named(audit, label)} is applied twice: its std follows "
                f"n_layer^{std.value:.2f}, and the forward pass multiplies by n_layer^{forward:.2f}"
            )
            yield Fault("scaled-twice", text, _paths(audit, label))


def _forward_exponent(audit: Audit, label: str) -> float:
    """Return the power of the depth in the factor on a branch."""
    ours, variant = audit.factors.get(label, 1.0), audit.shallower
    theirs = variant.factors.get(label, 1.0) if variant is not None else 1.0
    if variant is None or not (0 < ours < math.inf and 0 < theirs < math.inf):
        return 0.0
    return round(math.log(ours / theirs) / math.log(audit.n_layer / variant.size), 2)


def fan_in_faults(audit: Audit) -> Iterator[Fault]:
    """Find an mlp_down whose std was taken from the model's width, not from its own fan_in.

    Said where the stds follow the width as a rule by fan_in does, and mlp_down has the std of
    attn_out, whose fan_in is another.
    """
    down, out = audit.labelled("mlp_down"), audit.labelled("attn_out")
    by_width = exponent(out, audit.narrower, audit.width)
    if by_width is None or not (by_width.below(SCALED) and by_width.above(TWICE)) or not down:
        return
    (down_std, n), (out_std, m) = (_pooled([_std(one) for one in each]) for each in (down, out))
    fans = audit.fans.get(down[0].path, 0), audit.fans.get(out[0].path, 0)
    if 0 in fans or fans[0] == fans[1] or not down_std > 0:
        return
    wide = math.sqrt(fans[0] / fans[1])
    if abs(math.log(down_std / out_std)) < ERRORS * _error(n, m) < abs(math.log(wide)):
        text = (
            f"{_named(audit, 'mlp_down')} has the std of attn_out, {number(down_std)}, "
            f"which follows the width as 1/sqrt(fan_in) does; but its fan_in is {fans[0]}, not "
            f"{fans[1]}: it is {number(wide)} × too wide, its branch's variance {number(wide**2)} ×"
        )
        yield Fault("fan-in", text, tuple(one.path for one in down))


def width_faults(audit: Audit) -> Iterator[Fault]:
    """Find a switch for muP that is on, while no weight's std follows the width.

    muP divides the std of hidden weights by the root of the width (Yang et al. 2022, table 3).
    """
    known = {
        label: found for label in (*INSIDE, *sorted(RESIDUAL))
        if (found := exponent(audit.labelled(label), audit.narrower, audit.width)) is not None
    }  # fmt: skip
    if audit.switches and known and all(found.above(SCALED) for found in known.values()):
        text = (
            f"{' and '.join(audit.switches)} is on, and no weight's std follows the width: "
            f"{', '.join(known)} are as wide with half of it, where muP has width^-0.50"
        )
        yield Fault(
            "width-in-vain", text, tuple(p for label in known for p in _paths(audit, label))
        )
