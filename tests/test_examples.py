"""Every example runs, on a small model, as its own words say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PNG = b"\x89PNG"


def run(*command: str, **environment: str) -> str:
    folder = Path(sys.executable).parent
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_own_rule() -> None:
    script = str(EXAMPLES / "own_rule.py")
    text = run(sys.executable, script, "--n-layer", "4", "--n-embd", "32", "--seeds", "2")
    assert [line.split(",")[0] for line in text.splitlines()] == ["nanogpt", "own"]
    assert "final residual variance" in text


def test_plot_depths(tmp_path: Path) -> None:
    target = tmp_path / "depths.png"
    script = str(EXAMPLES / "plot_depths.py")
    run(sys.executable, script, str(target), "--depths", "1", "3", "--n-embd", "32")
    assert target.read_bytes().startswith(PNG)


@pytest.mark.slow
def test_session(tmp_path: Path) -> None:
    if not (Path(sys.executable).parent / "initscope").exists():
        pytest.skip("the initscope command is not installed")
    text = run("bash", str(EXAMPLES / "session.sh"), DEPTH="8", WIDTH="32", OUT=str(tmp_path))
    assert (tmp_path / "nanogpt.png").read_bytes().startswith(PNG)
    assert (tmp_path / "rules.svg").read_text().startswith("<?xml")
    assert (tmp_path / "nanogpt.json").exists()
    assert text.rstrip().endswith("out of bounds")


def test_every_example_is_tested_and_named_in_the_readme() -> None:
    tested = Path(__file__).read_text() + (ROOT / "tests" / "test_examples_project.py").read_text()
    for path in EXAMPLES.iterdir():
        if not path.name.startswith((".", "__")):
            assert path.name in tested, path.name
