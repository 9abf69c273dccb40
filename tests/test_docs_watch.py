"""docs/watch.md runs as it stands: its loops, and what it shows of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import in_process
from test_docs import commands, fenced

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")


def test_the_loops_of_the_page_run_and_their_file_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop, steps = fenced(PAGE, "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", loop + steps], cwd=tmp_path, check=False,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    (words,) = commands(PAGE)
    end = in_process(tmp_path, monkeypatch, capsys)(*words)
    assert end.code == 0, end.err
    (shown,) = fenced(PAGE, "console")
    for line in (1, -1):  # the head of the table, and the verdict below
        assert shown.splitlines()[line] in end.out


def test_the_names_that_the_page_gives_are_given() -> None:
    from initscope.resident.scope import LEAN
    from initscope.training.scalars import scalars
    from users_gpt import users_gpt
    from watched import watched

    profile = watched(users_gpt(n_layer=4), 1).profile
    assert profile is not None
    names = scalars(profile)
    for name in ("resid_post/layer_03/variance", "mlp_down/layer_03/branch_ratio", "loss/loss"):
        assert f"initscope/{name}" in names
        assert f"`initscope/{name}`" in PAGE
    assert {"embed", "resid_post", "attn_out", "mlp_act", "logits"} <= (LEAN.forward or set())
