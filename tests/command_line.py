"""The command line, run in this process or in one of its own, whatever the shell has set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from initscope.cli import main

ROOT = Path(__file__).parents[1]
TINY = ("--n-layer", "2", "--n-embd", "32", "--vocab-size", "64", "--seq-len", "16")

# What a shell or a CI server may have set, and what would change the output.
SET_OUTSIDE = (
    "COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM", "COLORTERM", "TTY_COMPATIBLE",
    "TTY_INTERACTIVE", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "INITSCOPE_DEBUG",
    "PYTHONIOENCODING",
)  # fmt: skip
WIDE = {"COLUMNS": "160"}

# The interrupt is restored because what runs in a shell's background starts with it ignored.
CALL = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from initscope.cli import main
sys.exit(main())
"""


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def in_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return what runs a command here, in a folder of its own."""
    for name in SET_OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    for name, value in WIDE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> Outcome:
        code = main(arguments)
        return Outcome(code, *capsys.readouterr())

    return run


def start(folder: Path, *arguments: str, call: str = CALL, **given: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own; ``env`` is laid over a plain environment."""
    plain = {name: value for name, value in os.environ.items() if name not in SET_OUTSIDE}
    plain |= {**WIDE, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **given}
    pipes["env"] = {**plain, **given.get("env", {})}
    return subprocess.Popen(
        [sys.executable, "-c", call, *arguments], cwd=folder, encoding="utf-8", **pipes
    )


def run(folder: Path, *arguments: str, **given: Any) -> Outcome:
    """Run a command in a process of its own."""
    with start(folder, *arguments, **given) as process:
        out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, err)


def contents(folder: Path) -> list[str]:
    """Name what is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())
