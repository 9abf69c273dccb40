"""The inverse of a prediction: a rule for targets, solved for by theory (docs/design.md)."""

from __future__ import annotations

from initscope.designing.result import Design, Outcome, design
from initscope.designing.targets import Targets

__all__ = ["Design", "Outcome", "Targets", "design"]
