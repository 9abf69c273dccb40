"""JSON: strict, with everything that the verdicts hold.

``{"schema": 1, "generator": "initscope 0.1.0", "status", "checks": [{"name", "status",
"headline", "rule", "n_layer", ..., "findings": [{"code", "name", "status", ...}]}]}``

What JSON has no number for is ``null``; ``non_finite`` beside it says by name what it was:
``{"value": null, "non_finite": {"value": "inf"}}``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from initscope import __version__
from initscope.formats.named import Named, overall

# Schema versions:
# 1: the status of all checks together and, check by check, its verdict. (0.1.0)
SCHEMA_VERSION = 1


def render(checks: Sequence[Named]) -> str:
    """Write the verdicts as one JSON document in ASCII."""
    document = {
        "schema": SCHEMA_VERSION,
        "generator": f"initscope {__version__}",
        "status": overall(checks),
        "checks": [_check(check) for check in checks],
    }
    return json.dumps(document, allow_nan=False, indent=2) + "\n"


def _check(check: Named) -> object:
    verdict = check.verdict
    named = {"name": check.name, "status": check.status, "headline": verdict.headline}
    return _strict({**named, **asdict(verdict)})


def _strict(value: object) -> object:
    """Replace what JSON has no number for, and say beside it what it was."""
    if isinstance(value, dict):
        lost = {key: str(number) for key, number in value.items() if _non_finite(number)}
        spelt = {key: _strict(item) for key, item in value.items()}
        return {**spelt, "non_finite": lost} if lost else spelt
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if _non_finite(value) else value


def _non_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
