"""Every example runs, on a small model, as its own words say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import initscope
from side_by_side import NEEDS_GLOO, environment
from test_docs import fenced

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


TINY = (
    "--n-layer", "2", "--n-embd", "32", "--n-head", "2", "--block-size", "16", "--batch", "8",
    "--validation", "4", "--rates", "0.01",
)  # fmt: skip


def warmup(*options: str) -> list[float]:
    """Return the numbers of the table's one line."""
    text = run(sys.executable, str(EXAMPLES / "warmup.py"), *TINY, *options)
    return [float(word) for word in text.splitlines()[-1].split() if word != "±"]


def test_warmup_trains_with_and_without() -> None:
    rate, warm, _, cold, _, difference, *_ = warmup("--steps", "40", "--seeds", "2")
    assert rate == 0.01
    assert max(warm, cold) < 5  # from ln 256 = 5.55
    assert difference == pytest.approx(cold - warm, abs=0.002)
    assert difference != 0


def test_warmup_over_no_step_is_no_warmup() -> None:
    _, warm, cold, difference, worst, same, *lost = warmup(
        "--steps", "5", "--seeds", "1", "--warmup", "0"
    )
    assert warm == cold
    assert worst == same
    assert difference == 0
    assert lost == [1, 1]  # five steps do not reach the bytes' frequencies


@NEEDS_GLOO
def test_distributed() -> None:
    script = [str(EXAMPLES / "distributed.py"), "--n-layer", "3", "--n-embd", "32"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    text = run(*torchrun, "--nproc-per-node", "2", *script, **environment())
    (sizes,) = (line for line in text.splitlines() if "sequences" in line)
    model = initscope.build(initscope.GPTConfig(n_layer=3, n_embd=32, vocab_size=1024), "nanogpt")
    parameters = sum(p.numel() for p in model.parameters())
    assert sizes == f"4 sequences, {parameters} parameters"
    assert text.count("forward") == 1


def test_the_page_of_several_gpus_shows_the_example() -> None:
    (shown,) = fenced((ROOT / "docs" / "distributed.md").read_text(encoding="utf-8"), "python")
    assert shown in (EXAMPLES / "distributed.py").read_text(encoding="utf-8")


def test_watch(tmp_path: Path) -> None:
    small = ("--steps", "5", "--every", "2", "--layers", "2", "--width", "32")
    file, script = tmp_path / "run.jsonl", str(EXAMPLES / "watch.py")
    sound = run(sys.executable, script, *small, "--jsonl", str(file))
    assert [line.rpartition(" ")[2] for line in sound.splitlines()] == ["0)", "2)", "4)"]
    assert len(file.read_text().splitlines()) == 3
    assert "explodes" not in sound
    assert "explodes" in run(sys.executable, script, *small, "--rate", "10")


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
