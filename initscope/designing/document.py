"""A design ready for JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from initscope.designing import quantities
from initscope.designing.quantities import Quantities
from initscope.designing.result import Design, Outcome
from initscope.profile import Profile

SCHEMA = 1  # 1: the first


def document(design: Design, outcome: Outcome | None = None) -> dict[str, Any]:
    """Return everything that the table shows, numbers in full, and the settings' text."""
    return {
        "schema": SCHEMA,
        "rule": {
            "name": design.name,
            "base": design.base.name,
            "changes": dict(design.said),
            "inline": design.inline,
            "toml": design.toml,
        },
        "config": design.config.to_dict(),
        "targets": asdict(design.targets),
        "base": _finite(design.before),
        "predicted": _by_depth(design.predicted, design.deeper),
        "measured": None if outcome is None else _by_depth(outcome.measured),
        "expected": None if outcome is None else _expected(outcome),
        "astray": None if outcome is None else outcome.astray,
        "knobs": [one._asdict() for one in design.reasons],
    }


def depths(profile: Profile) -> list[int]:
    """Return the depths that a profile has a stream of, the shallowest first."""
    return sorted(int(n) for n in profile.table["n_layer"].unique())


def _by_depth(*profiles: Profile) -> list[dict[str, Any]]:
    return [
        {"n_layer": depth, **_finite(quantities.read(profile, depth))}
        for profile in profiles for depth in depths(profile)
    ]  # fmt: skip


def _expected(outcome: Outcome) -> dict[str, list[float] | None]:
    bands = {name: outcome.expected(name) for name in Quantities._fields}
    return {name: None if math.isnan(low) else [low, high] for name, (low, high) in bands.items()}


def _finite(found: Quantities) -> dict[str, float | None]:
    return {
        name: value if math.isfinite(value) else None for name, value in found._asdict().items()
    }
