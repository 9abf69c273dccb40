"""What was measured and what stands out, in words: for tables, figures and pages alike."""

from __future__ import annotations

from initscope.captions.facts import architecture, common_facts, facts, labels, listed, shape
from initscope.captions.findings import Note, findings, loss_excess, overflow, place

__all__ = [
    "Note", "architecture", "common_facts", "facts", "findings", "labels", "listed",
    "loss_excess", "overflow", "place", "shape",
]  # fmt: skip
