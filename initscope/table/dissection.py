"""A rule on one model, ready for JSON."""

from __future__ import annotations

import math
from typing import Any

from initscope.breakdown import Drawn, Part, Sampler, factors, parts
from initscope.config import GPTConfig
from initscope.rules import Rule
from initscope.table.catalogue import facts


def rule_document(config: GPTConfig, rule: Rule, sampler: Sampler) -> dict[str, Any]:
    """Return what the table shows, and more of it."""
    return {
        "rule": facts(rule),
        "config": config.to_dict(),
        "multipliers": [
            {"name": one.name, "first": one.values[0], "last": one.values[1],
             "formula": one.formula}
            for one in factors(config, rule)
        ],
        "parameters": [_part_facts(part, sampler) for part in parts(config, rule)],
    }  # fmt: skip


def _part_facts(part: Part, sampler: Sampler) -> dict[str, Any]:
    return {
        "role": part.role,
        "names": list(part.labels),
        "present": part.present,
        "shapes": [list(shape) for shape in part.shapes],
        "tensors": part.tensors,
        "entries": part.entries,
        "stream": part.effect,
        "draws": [_draw_facts(drawn, sampler) for drawn in part.ends],
    }


def _draw_facts(drawn: Drawn, sampler: Sampler) -> dict[str, Any]:
    draw, sampled = drawn.draw, sampler(drawn.parameter, drawn.draw)
    return {
        "layer": drawn.parameter.site.layer,
        "distribution": draw.kind,
        "formula": drawn.formula,
        "scale": _finite(draw.scale),
        "cut": _finite(draw.cut),
        "mean": _finite(draw.mean),
        "std": _finite(draw.std),
        "bound": _finite(draw.bound),
        "drawn_std": None if sampled is None else _finite(sampled.std),
        "drawn_error": None if sampled is None else _finite(sampled.error),
        "drawn_entries": None if sampled is None else sampled.entries,
        "multiplier": drawn.factor,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
