"""An identification as data, ready for JSON.

Schema versions:
1: shape, groups with what was measured, rules with what does not fit. (0.1.0)
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from initscope.origin import words
from initscope.origin.groups import Group
from initscope.origin.matching import Match, Miss
from initscope.origin.result import Identification

SCHEMA = 1


def document(found: Identification, top: int) -> dict[str, Any]:
    """Return everything that was found, with the first ``top`` rules in detail."""
    return {
        "schema": SCHEMA,
        "source": found.source,
        "headline": words.headline(found),
        "fits": found.fits,
        "model": {**dataclasses.asdict(found.layout.shape), "tied": found.tied},
        "groups": [_group(found, group) for group in found.groups],
        "matches": [_match(found, match) for match in found.matches[:top]],
        "rescaled": found.rescaled and {
            "rules": words.names(found.rescaled), "factor": found.rescaled.factor,
        },
        "notes": [{"label": label, "text": text} for label, text in words.notes(found)],
        "missing_layers": list(found.layout.missing),
        "unmapped": list(found.layout.unmapped),
    }  # fmt: skip


def _group(found: Identification, group: Group) -> dict[str, Any]:
    samples = [member.sample for member in group.members]
    return {
        "group": group.label,
        "parameters": [member.named.name for member in group.members],
        "layers": [member.named.site.layer for member in group.members],
        "count": group.count,
        "distribution": group.distribution,
        "std": [_finite(sample.std) for sample in samples],
        "mean": [_finite(sample.mean) for sample in samples],
        "max_abs": [_finite(sample.max_abs) for sample in samples],
        "fitting": found.fitting(group),
    }


def _match(found: Identification, match: Match) -> dict[str, Any]:
    return {
        "rules": words.names(match),
        "fits": match.fits,
        "groups_fitting": match.fitting,
        "groups": match.groups,
        "log_likelihood": _finite(match.log_likelihood),
        "distance": match.distance,
        "multipliers": [rule.name for rule in match.rules if words.multiplies(found, rule)],
        "misfits": [_miss(found, match, miss) for miss in match.misses],
    }


def _miss(found: Identification, match: Match, miss: Miss) -> dict[str, Any]:
    return {
        "group": miss.group.label,
        "layers": [member.named.site.layer for member in miss.members],
        "measured": _finite(miss.measured),
        "expected": miss.expected,
        "statistic": miss.evidence.statistic,
        "log10_p": _finite(miss.evidence.log_p / math.log(10)),
        "fault": found.fault(match, miss),
        "text": words.sentence(found, match, miss),
    }


def _finite(value: float) -> float | None:
    """Return a number that JSON has; null is what overflowed, or a p-value of exactly 0."""
    return value if math.isfinite(value) else None
