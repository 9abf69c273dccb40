"""Signal-propagation theory: a profile from the configuration and the rule alone.

docs/theory.md has every formula with its source and its assumption.
"""

from __future__ import annotations

from initscope.theory.beside import try_theory, with_theory
from initscope.theory.prediction import predict

__all__ = ["predict", "try_theory", "with_theory"]
