"""Measuring a user's model: one that is given, or one that is built at several depths.

Built, it has the weights of its own initialisation, those that a rule draws, or those of a
checkpoint; and where it does not fit into memory, one block at a time has any.
"""

from __future__ import annotations

from initscope.own.given import inspect
from initscope.own.subject import OWN, Subject

__all__ = ["OWN", "Subject", "inspect"]
