"""Profiles as a figure for a paper or a talk; nothing here opens a window or writes a file."""

from __future__ import annotations

from initscope.plot.figure import figure, save_bytes

__all__ = ["figure", "save_bytes"]
