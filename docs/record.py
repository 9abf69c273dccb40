"""Run the commands that a document shows and put down what they print.

``python docs/record.py`` rewrites README.md in place, and ``python docs/record.py FILE`` another
document, so that their output is never typed by hand: that of each ``console`` block, and each
table between ``<!-- NAME: python -m MODULE -->`` and ``<!-- end of NAME -->``. Where a document
begins with a Python block, that has run before, in a folder of its own; one that begins with a
comment such as ``# model.py`` is that file there.
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
BLOCK = re.compile(r"^```console\n\$ (?P<command>.+)\n(?P<output>(?s:.*?))^```$", re.MULTILINE)
TABLE = re.compile(
    r"^(?P<start><!-- (?P<name>\w+): (?P<command>python .+) -->)\n(?s:.*?)"
    r"(?P<end><!-- end of (?P=name) -->)$",
    re.MULTILINE,
)
README = ROOT / "README.md"
SCRIPT = re.compile(r"^```python\n(?P<code>(?:# (?P<file>\w+\.py)\n)?(?s:.*?))^```$", re.MULTILINE)


def run(command: str, folder: Path = ROOT) -> str:
    """Return what a command writes to stdout in a terminal of 80 columns, and its exit code."""
    program, *rest = shlex.split(command)
    words = [sys.executable, *(rest if program == "python" else ["-m", program, *rest])]
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
    text = TABLE.sub(lambda t: f"{t['start']}\n\n{run(t['command'])}\n{t['end']}", text)
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
        if script["file"]:
            (Path(folder) / script["file"]).write_text(script["code"], encoding="utf-8")
        return recorded(text, Path(folder))


if __name__ == "__main__":
    for page in [Path(name) for name in sys.argv[1:]] or [README]:
        text = page.read_text(encoding="utf-8")
        alone = page == README or SCRIPT.search(text) is None
        page.write_text((recorded if alone else recorded_after_script)(text), encoding="utf-8")
