"""Well-known mistakes, each as the draw that it leaves behind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

from initscope.origin.matching import Judge, Match, Miss
from initscope.rules.core import RESIDUAL, Draw, Rule, Site
from initscope.rules.fan import torch_default

DEEPER = 4  # any other depth shows whether a draw depends on it

# The numbers by which a std is wrong most often, in the order in which they are tried.
FACTORS = {
    "2": 2.0, "1/2": 0.5, "√2": math.sqrt(2), "1/√2": math.sqrt(0.5), "3": 3.0, "1/3": 1 / 3,
    "4": 4.0, "1/4": 0.25, "10": 10.0, "1/10": 0.1, "√3": math.sqrt(3), "1/√3": math.sqrt(1 / 3),
}  # fmt: skip

# How many times larger the fused matrix is of which a role is a part.
FUSED = {"q": 3, "k": 3, "v": 3, "mlp_gate": 2, "mlp_up": 2}

Change = Callable[[Site, Draw], Draw | None]


def _random(change: Change) -> Change:
    """Apply a change of spread only to what has one."""
    return lambda site, draw: change(site, draw) if draw.std else None


def _scaled(factor: Callable[[Site], float]) -> Change:
    return _random(lambda site, draw: dataclasses.replace(draw, scale=draw.scale * factor(site)))


def _by(factor: float) -> Change:
    return _scaled(lambda _site: factor)


def by_depth(rule: Rule, site: Site) -> bool:
    """Whether a rule's draw of a weight that writes to the stream depends on the depth."""
    deeper = dataclasses.replace(site, n_layer=DEEPER * site.n_layer)
    later = dataclasses.replace(site, layer=site.layer + 1)
    draw = rule.draw(site)
    return site.role in RESIDUAL and any(
        not math.isclose(draw.std, rule.draw(other).std) for other in (deeper, later)
    )


_DEPTH_FAULTS: dict[str, Change] = {
    "the residual scaling was lost": _scaled(lambda site: math.sqrt(2 * site.n_layer)),
    "the residual scaling by layer was lost": _scaled(lambda site: math.sqrt(2 * (site.layer + 1))),
    "the residual scaling multiplies where it should divide": _scaled(
        lambda site: 2.0 * site.n_layer
    ),
    "the residual scaling was applied twice": _scaled(lambda site: (2 * site.n_layer) ** -0.5),
    "the residual scaling counts blocks, not the two branches of each": _by(math.sqrt(2)),
}

_FAULTS: dict[str, Change] = {
    "PyTorch's default was left": lambda site, _draw: torch_default(site),
    "it was left at zero": lambda _site, _draw: Draw.constant(0.0),
    "it was left at one": lambda _site, _draw: Draw.constant(1.0),
    "the variance was given as std": _random(
        lambda _site, draw: dataclasses.replace(draw, scale=draw.scale**2)
    ),
    "the std was given as variance": _random(
        lambda _site, draw: dataclasses.replace(draw, scale=math.sqrt(draw.scale))
    ),
    "it was not truncated": _random(
        lambda _site, draw: Draw.normal(draw.scale) if draw.kind == "truncated_normal" else None
    ),
    "it was drawn from a uniform of the same std": _random(
        lambda _site, draw: Draw.uniform(draw.std * math.sqrt(3))
    ),
    "it was drawn from a normal of the same std": _random(
        lambda _site, draw: Draw.normal(draw.std)
    ),
}
_NUMBERS = {f"the std is off by ×{name}": _by(factor) for name, factor in FACTORS.items()}


def name_fault(judge: Judge, rule: Rule, miss: Miss) -> str | None:
    """Name the mistake that would have left what was measured; None when none is known to."""
    for text, change in _candidates(rule, miss):
        if _explains(judge, miss, change):
            return text
    return None


def ranked(judge: Judge, matches: Sequence[Match]) -> list[Match]:
    """Sort matches, the best first.

    By the number of groups that do not fit; then rules that fit by their likelihood, and of the
    others first one whose every misfit is a known mistake, and no mere number; then by distance.
    """
    fewest = min(len(match.misses) for match in matches)

    def order(match: Match) -> tuple[float, ...]:
        if match.fits:
            return 0, 0, -match.log_likelihood
        near = len(match.misses) == fewest
        # Two rules can be equally far, but for rounding; then the catalogue's order stands.
        distance = round(match.distance, 6)
        return len(match.misses), _obscure(judge, match) if near else 0, distance

    return sorted(matches, key=order)


def _obscure(judge: Judge, match: Match) -> int:
    """Rate the worst explained misfit: 0 for a mistake, 1 for a mere number, 2 for neither."""
    faults = [name_fault(judge, match.rules[0], miss) for miss in match.misses]
    return max(2 if fault is None else int(fault in _NUMBERS) for fault in faults)


def _candidates(rule: Rule, miss: Miss) -> Iterator[tuple[str, Change]]:
    if all(by_depth(rule, member.named.site) for member in miss.members):
        yield from _DEPTH_FAULTS.items()
    if all(member.named.part for member in miss.members):
        yield "it was drawn as a part of the fused matrix, whose fan_out is larger", _fused(rule)
    yield from {**_FAULTS, **_NUMBERS}.items()


def _fused(rule: Rule) -> Change:
    """Draw a part of a fused matrix as that matrix: only its fan_out differs."""

    def change(site: Site, _draw: Draw) -> Draw:
        parts = FUSED.get(site.role, 1)
        return rule.draw(dataclasses.replace(site, fan_out=parts * site.fan_out))

    return change


def _explains(judge: Judge, miss: Miss, change: Change) -> bool:
    for member, draw in zip(miss.members, miss.draws, strict=True):
        changed = change(member.named.site, draw)
        if changed is None or judge.weigh(member, changed).log_p < judge.threshold:
            return False
    return True
