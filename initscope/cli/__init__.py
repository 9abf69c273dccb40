"""The command line: parse, call, render, exit. Each command is a file beside this one."""

from __future__ import annotations

from initscope.cli.app import app, main

__all__ = ["app", "main"]
