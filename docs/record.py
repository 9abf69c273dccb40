"""Run the commands that a document shows and put down what they print.

``python docs/record.py`` rewrites README.md in place, and ``python docs/record.py FILE`` another
document, so that their output is never typed by hand: that of each ``console`` block, and each
table between ``<!-- NAME: python -m MODULE -->`` and ``<!-- end of NAME -->``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```console\n\$ (?P<command>.+)\n(?P<output>(?s:.*?))^```$", re.MULTILINE)
TABLE = re.compile(
    r"^(?P<start><!-- (?P<name>\w+): (?P<command>python .+) -->)\n(?s:.*?)"
    r"(?P<end><!-- end of (?P=name) -->)$",
    re.MULTILINE,
)


def run(command: str) -> str:
    """Return what a command writes to stdout in a terminal of 80 columns, and its exit code."""
    program, *rest = shlex.split(command)
    words = [sys.executable, *(rest if program == "python" else ["-m", program, *rest])]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    if done.returncode not in {0, 1}:
        sys.exit(f"{command}: {done.stderr}")
    lines = [line.rstrip() for line in done.stdout.rstrip().splitlines()]
    status = ["$ echo $?", "1"] if done.returncode else []
    return "\n".join([*lines, *status]) + "\n"


def recorded(text: str) -> str:
    """Return a document with the output of each of its commands renewed."""
    text = TABLE.sub(lambda t: f"{t['start']}\n\n{run(t['command'])}\n{t['end']}", text)
    return BLOCK.sub(
        lambda block: f"```console\n$ {block['command']}\n{run(block['command'])}```", text
    )


if __name__ == "__main__":
    for document in [Path(name) for name in sys.argv[1:]] or [ROOT / "README.md"]:
        document.write_text(recorded(document.read_text(encoding="utf-8")), encoding="utf-8")
