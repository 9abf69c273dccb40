"""Baselines: what a model's signal once was, in a committed file, and whether it still is.

What is compared are means over seeds, never bits: another machine, device or version of torch
draws other numbers from the same law.
"""

from __future__ import annotations

from initscope.baseline.comparison import CODE, NAME, TOLERANCE, compare, title
from initscope.baseline.document import dumps, load, loads, summarise

__all__ = [
    "CODE", "NAME", "TOLERANCE", "compare", "dumps", "load", "loads", "summarise", "title",
]  # fmt: skip
