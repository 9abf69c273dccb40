"""Run the commands in the README's ``console`` blocks and put down what they print.

``python docs/record.py`` rewrites README.md in place, so that its output is never typed by hand.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"^```console\n\$ (?P<command>.+)\n(?P<output>(?s:.*?))^```$", re.MULTILINE)


def run(command: str) -> str:
    """Return what a command writes to stdout in a terminal of 80 columns, and its exit code."""
    words = [sys.executable, "-m", *shlex.split(command)]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment, cwd=README.parent
    )
    if done.returncode not in {0, 1}:
        sys.exit(f"{command}: {done.stderr}")
    lines = [line.rstrip() for line in done.stdout.rstrip().splitlines()]
    status = ["$ echo $?", "1"] if done.returncode else []
    return "\n".join([*lines, *status]) + "\n"


def recorded(text: str) -> str:
    """Return a document with the output of each of its commands renewed."""
    return BLOCK.sub(
        lambda block: f"```console\n$ {block['command']}\n{run(block['command'])}```", text
    )


if __name__ == "__main__":
    README.write_text(recorded(README.read_text(encoding="utf-8")), encoding="utf-8")
