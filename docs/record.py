"""Run the commands in a page's ``console`` blocks and put down what they print.

``python docs/record.py`` rewrites README.md in place, so that its output is never typed by hand;
``python docs/record.py docs/identify.md`` another page, in a folder where its first Python block
has run.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^```console\n\$ (?P<command>.+)\n(?P<output>(?s:.*?))^```$", re.MULTILINE)
SCRIPT = re.compile(r"^```python\n(?P<code>(?s:.*?))^```$", re.MULTILINE)


def run(command: str, folder: Path = ROOT) -> str:
    """Return what a command writes to stdout in a terminal of 80 columns, and its exit code."""
    words = [sys.executable, "-m", *shlex.split(command)]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment, cwd=folder
    )
    if done.returncode not in {0, 1}:
        sys.exit(f"{command}: {done.stderr}")
    lines = [line.rstrip() for line in done.stdout.rstrip().splitlines()]
    status = ["$ echo $?", "1"] if done.returncode else []
    return "\n".join([*lines, *status]) + "\n"


def recorded(text: str, folder: Path = ROOT) -> str:
    """Return a document with the output of each of its commands renewed."""
    return BLOCK.sub(
        lambda block: f"```console\n$ {block['command']}\n{run(block['command'], folder)}```", text
    )


def recorded_after_script(text: str) -> str:
    """Run a document's first Python block, then its commands beside the files that it left."""
    script = SCRIPT.search(text)
    assert script, "the page has no Python block"
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        code = [sys.executable, "-c", script["code"]]
        subprocess.run(code, check=True, env=environment, cwd=folder)
        return recorded(text, Path(folder))


if __name__ == "__main__":
    for page in [Path(name) for name in sys.argv[1:]] or [README]:
        record = recorded if page == README else recorded_after_script
        page.write_text(record(page.read_text(encoding="utf-8")), encoding="utf-8")
