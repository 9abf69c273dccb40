"""initscope predict: what inspect shows, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import ROOT, Command
from initscope.store import load

SHAPE = ("--n-layer", "3", "--n-embd", "64", "--vocab-size", "128", "--seq-len", "16")


def test_one_rule_is_shown_layer_by_layer(cli: Command) -> None:
    code, out, _ = cli("predict", *SHAPE)
    assert code == 0
    assert "theory, not measured" in out
    assert "(theory)" in out
    assert "residual" in out


def test_several_rules_are_compared_and_saved(cli: Command, tmp_path: Path) -> None:
    files = ("--json", "p.json", "--plot", "p.svg")
    code, out, _ = cli("predict", "--rule", "nanogpt", "--rule", "xavier", *SHAPE, *files)
    assert code == 0
    assert out.index("nanogpt") < out.index("xavier")
    profiles = load(tmp_path / "p.json")
    assert [profile.rule for profile in profiles] == ["nanogpt", "xavier"]
    assert {profile.run.source for profile in profiles} == {"theory"}
    assert (tmp_path / "p.svg").read_text(encoding="utf-8").startswith("<?xml")
    code, again, _ = cli("show", "p.json")
    assert (code, again) == (0, out)


def test_where_theory_ends_is_said_and_saved(cli: Command, tmp_path: Path) -> None:
    shape = ("--n-layer", "24", *SHAPE[2:], "--norm", "none", "--rule", "xavier")
    code, out, _ = cli("predict", *shape, "--json", "p.json")
    assert code == 0
    assert "holds no further: without a norm attention sharpens" in out
    saved = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert "without a norm" in saved["profiles"][0]["run"]["remark"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rule", "nanogtp"), "did you mean 'nanogpt'"),
        (("--batch", "0"), "--batch must be at least 1"),
        (("--tokens", "zipff"), "unknown token source"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    cli: Command, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = cli("predict", *SHAPE, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_torch_is_never_loaded() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; from initscope.cli import main; "
        f"sys.exit(main({['predict', *SHAPE]}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
