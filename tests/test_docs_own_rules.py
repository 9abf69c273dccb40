"""docs/own-rules.md: every command, table, settings file and script in it does what it says."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from command_line import Command
from initscope.rules import RULES, get_rule
from initscope.rules.formula import NAMES
from initscope.rules.own import FIELDS, QUANTITIES
from initscope.rules.parts import DRAWN, FACTORS
from test_docs import ROOT, fenced

PAGE = (ROOT / "docs" / "own-rules.md").read_text(encoding="utf-8")
SETTINGS, ENTRY_POINT = fenced(PAGE, "toml")
LINES = [line for block in fenced(PAGE, "sh") for line in block.splitlines()]


@pytest.mark.parametrize("line", LINES)
def test_the_commands_run(line: str, cli: Command, tmp_path: Path) -> None:
    (tmp_path / "initscope.toml").write_text(SETTINGS, encoding="utf-8")
    _, name, *words = shlex.split(line)
    # As in the page, on a model that is no larger than need be.
    smaller = [] if name == "rules" else ["--n-embd", "32", "--vocab-size", "64"]
    quick = ["--seq-len", "8", "--device", "cpu"] if name in {"inspect", "compare", "check"} else []
    outcome = cli(name, *words, *smaller, *quick)
    assert outcome.code in ({0, 1} if name == "check" else {0}), outcome.err
    assert outcome.out


@pytest.mark.parametrize("block", fenced(PAGE, "console"))
def test_the_output_is_real(block: str, cli: Command) -> None:
    command, _, shown = block.partition("\n")
    outcome = cli(*shlex.split(command.removeprefix("$ initscope ")))
    assert outcome.out + outcome.err == shown


def test_the_settings_make_the_rules(cli: Command, tmp_path: Path) -> None:
    for name, text in (
        ("initscope.toml", SETTINGS),
        ("pyproject.toml", SETTINGS.replace("[rules.", "[tool.initscope.rules.")),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        out = cli("rules").out
        assert "\nmine " in out
        assert "our notebook, page 12" in out
        (tmp_path / name).unlink()


def test_the_script_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = fenced(PAGE, "python")
    try:
        exec(compile(code, "own-rules.md", "exec"), {})  # noqa: S102 - our own document
        assert get_rule("by-kind").summary.startswith("N(0, 0.02), orthogonal q and k")
        assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
            "by-kind", "by-kind:q.gain=2", "nanogpt",
        ]  # fmt: skip
    finally:
        RULES.pop("by-kind", None)


def test_the_entry_point_is_read_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    (code,) = fenced(PAGE, "python")
    package = tmp_path / "your_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "rules.py").write_text(code.partition("\n\n\nconfig = ")[0] + "\n", encoding="utf-8")
    info = tmp_path / "yours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: yours\nVersion: 1.0\n")
    entries = ENTRY_POINT.replace('project.entry-points."initscope.rules"', "initscope.rules")
    (info / "entry_points.txt").write_text(entries.replace('"', ""), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        outcome = cli("explain", "by-kind", "--n-layer", "2", "--n-embd", "32")
        assert (outcome.code, outcome.err) == (0, "")
        assert "N(0, 0.02/n_layer)" in outcome.out
    finally:
        RULES.pop("by-kind", None)
        for name in ("your_package", "your_package.rules"):
            sys.modules.pop(name, None)


def test_every_name_is_explained() -> None:
    for name in (*DRAWN, *QUANTITIES, *FACTORS, *FIELDS, *NAMES, "sqrt", "log", "min", "max"):
        assert f"`{name}`" in PAGE, name
