"""An audit as data, ready for JSON.

Schema versions:
1: faults, notes, and every tensor with its writes and statistics. (0.1.0)
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from initscope.origin import words
from initscope.origin.sample import Sample
from initscope.provenance.faults import faults, notes
from initscope.provenance.result import Audit, Held, MetaPath, Variant
from initscope.provenance.scaling import depth_exponent, exponent
from initscope.rules.core import RESIDUAL

SCHEMA = 1


def document(audit: Audit) -> dict[str, Any]:
    """Return everything that was found."""
    return {
        "schema": SCHEMA,
        "target": audit.target,
        "n_layer": audit.n_layer,
        "width": audit.width,
        "faults": [fault._asdict() for fault in faults(audit)],
        "notes": [note._asdict() for note in notes(audit)],
        "rules": words.names(audit.rule) if audit.rule is not None else [],
        "shallower": _size(audit.shallower),
        "narrower": _size(audit.narrower),
        "loss_excess": _finite(audit.loss_excess),
        "logit_std": _finite(audit.logit_std),
        "tensors": [_held(audit, one) for one in audit.held],
        "meta": _meta(audit.meta),
    }


def _size(variant: Variant | None) -> int | None:
    return variant.size if variant is not None else None


def _held(audit: Audit, one: Held) -> dict[str, Any]:
    inside = one.matrix and 0 <= one.layer < audit.n_layer
    found = depth_exponent(audit, one.label) if inside else None
    by_width = exponent(audit.labelled(one.label), audit.narrower, audit.width) if inside else None
    return {
        **_facts(one),
        "label": one.label,
        "layer": one.layer,
        "writes_to_stream": one.label in RESIDUAL,
        "depth_exponent": found.value if found is not None else None,
        "depth_exponent_error": found.error if found is not None else None,
        "width_exponent": by_width.value if by_width is not None else None,
    }


def _facts(one: Held) -> dict[str, Any]:
    return {
        "paths": list(one.paths),
        "kind": "buffer" if one.buffer else "parameter",
        "shape": list(one.shape),
        "written": one.written,
        "default": one.default or None,
        "writes": None if one.writes is None else [
            {**dataclasses.asdict(write), "cut": _finite(write.cut)} for write in one.writes
        ],
        **_statistics(one.sample),
    }  # fmt: skip


def _statistics(sample: Sample | None) -> dict[str, float | None]:
    names = ("mean", "std", "max_abs")
    return {name: None if sample is None else _finite(getattr(sample, name)) for name in names}


def _meta(meta: MetaPath | None) -> dict[str, Any] | None:
    if meta is None:
        return None
    return {
        "how": meta.how, "error": meta.error or None, "tensors": [_facts(one) for one in meta.held],
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
