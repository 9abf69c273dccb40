"""Profiles as tables for the terminal: pure functions that return what rich can print."""

from __future__ import annotations

from initscope.table.layers import inspect_report
from initscope.table.rules import compare_report
from initscope.table.trend import trend_report

__all__ = ["compare_report", "inspect_report", "trend_report"]
