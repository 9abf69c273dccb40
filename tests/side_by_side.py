"""Processes that run one script side by side, each told its rank."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from torch import distributed

from command_line import Outcome

NEEDS_GLOO = pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(),
    reason="needs torch.distributed with gloo",
)
RANKS = 2
TESTS = Path(__file__).parent
PATIENCE = 240  # seconds, on a machine that is busy with other things
LOOPBACK = {"linux": "lo", "darwin": "lo0"}.get(sys.platform, "")


def environment() -> dict[str, str]:
    """One thread each, this checkout, and a network that any machine has."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    there = {"GLOO_SOCKET_IFNAME": LOOPBACK} if LOOPBACK else {}
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **there}


def launch(script: str, folder: Path, *arguments: str, awaited: int = RANKS) -> list[Outcome]:
    """Run ``tests/script FOLDER RANK …`` once a rank, and see how the first ones end.

    None outlives the call.
    """
    with ExitStack() as stack:
        running = [stack.enter_context(_start(script, str(folder), str(rank), *arguments))
                   for rank in range(RANKS)]  # fmt: skip
        for process in running:
            stack.callback(process.kill)
        return [_end(process) for process in running[:awaited]]


def _start(*words: str) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, str(TESTS / words[0]), *words[1:]], env=environment(), text=True, **pipes
    )


def _end(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=PATIENCE)
    return Outcome(process.returncode, out, err)
