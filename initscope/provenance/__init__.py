"""What wrote each number of a model before its first use, and what of that is a mistake.

Facts and verdicts without torch: :mod:`initscope.auditing` collects them from a model.
"""

from __future__ import annotations

from initscope.provenance.result import Audit, Fault, Held, MetaPath, Note, Variant, Write

__all__ = ["Audit", "Fault", "Held", "MetaPath", "Note", "Variant", "Write"]
