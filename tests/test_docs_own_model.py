"""docs/own-model.md runs as it stands: its model, its commands and its Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from command_line import in_process
from families import FAMILIES
from test_docs import commands, fenced

PAGE = (Path(__file__).parents[1] / "docs" / "own-model.md").read_text(encoding="utf-8")
MODEL, TRAIN, CODE = fenced(PAGE, "python")


@pytest.mark.parametrize("words", commands(PAGE), ids=" ".join)
def test_every_command_of_the_page_does_what_it_says(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if any(word.startswith("hf:") for word in words):
        pytest.importorskip("transformers", reason="needs the extra hf")
    (tmp_path / "model.py").write_text(MODEL)
    if any(word.endswith(".pt") for word in words):
        train(tmp_path)
    end = in_process(tmp_path, monkeypatch, capsys)(*words)
    assert end.code == 0, end.out + end.err
    assert ("broken IS001 depth-exponent" in end.out) == ("scaled=false" in words)
    assert ("part of qkv" in end.out) == ("--print-sites" in words)


def train(folder: Path) -> None:
    """Run the page's training in a process of its own, as the page's reader would."""
    (folder / "train.py").write_text(TRAIN)
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True)


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(MODEL + CODE, "own-model.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - ours
    assert "own" in capsys.readouterr().out


def test_every_family_that_is_tested_is_in_the_table() -> None:
    table = PAGE[PAGE.index("| family |") :].replace("-", "").replace(" ", "").lower()
    for name in FAMILIES:
        family = name.rstrip("23").replace("_", "")
        assert family in table, name
