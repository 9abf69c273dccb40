"""The GitHub Action runs as on a runner, but for the services: no runner, no package index."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import installed

ROOT = installed.ROOT
TEXT = (ROOT / "action.yml").read_text(encoding="utf-8")
ACTION = yaml.safe_load(TEXT)
STEPS = ACTION["runs"]["steps"]
SCRIPTS: dict[str, dict[str, Any]] = {step["name"]: step for step in STEPS if "run" in step}
PROJECT = ROOT / "examples" / "project"
BASH = shutil.which("bash") or "bash"


def run_step(name: str, cwd: Path, folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as a runner does, with its environment."""
    (folder / "temp").mkdir()
    (folder / "output").touch()
    environment = installed.environment(
        folder, GITHUB_ACTIONS="true", RUNNER_TEMP=str(folder / "temp"),
        GITHUB_OUTPUT=str(folder / "output"), GITHUB_STEP_SUMMARY=str(folder / "summary"),
        GITHUB_ACTION_PATH="/the action", **inputs,
    )  # fmt: skip
    return subprocess.run(
        [BASH, "--noprofile", "--norc", "-eo", "pipefail", "-c", SCRIPTS[name]["run"]],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def outputs(folder: Path) -> dict[str, Path]:
    lines = (folder / "output").read_text().splitlines()
    return {name: Path(value) for name, _, value in (line.partition("=") for line in lines)}


def test_no_expression_is_written_into_a_script() -> None:
    for step in SCRIPTS.values():
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]
    given = {name for step in SCRIPTS.values() for name in step["env"].values()}
    assert given == {"${{ inputs.args }}", "${{ inputs.version }}"}


def test_every_input_and_output_is_connected() -> None:
    assert set(re.findall(r"inputs\.([\w-]+)", TEXT)) == ACTION["inputs"].keys()
    written = re.findall(r'"(\w+)=\$reports', SCRIPTS["initscope check"]["run"])
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.check.outputs.{name} }}}}"
        assert name in written
    assert SCRIPTS["initscope check"]["id"] == "check"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [("", 0, "✅"), ("--rule nanogpt-flat\n  --n-layer 4 --no-remedy\n", 1, "❌")],
    ids=["settings file", "arguments"],
)
def test_the_check_ends_as_the_command_does(
    tmp_path: Path, arguments: str, code: int, status: str
) -> None:
    result = run_step("initscope check", PROJECT, tmp_path, INITSCOPE_ARGS=arguments)
    assert result.returncode == code, result.stderr
    assert status in (tmp_path / "summary").read_text(encoding="utf-8")
    log = result.stdout + result.stderr  # the runner reads annotations from both
    assert ("::error" in log) == bool(code)
    assert outputs(tmp_path).keys() == ACTION["outputs"].keys()
    assert status in outputs(tmp_path)["markdown"].read_text(encoding="utf-8")
    assert json.loads(outputs(tmp_path)["sarif"].read_bytes())["version"] == "2.1.0"


@pytest.mark.parametrize(
    ("arguments", "file"),
    [("$(touch a) `touch b`; touch c && touch d", "$(touch"), ('"; touch e #', '";'), ("*", "*")],
)
def test_what_the_input_says_is_text(tmp_path: Path, arguments: str, file: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "profile.json").touch()
    result = run_step("initscope check", here, tmp_path, INITSCOPE_ARGS=arguments)
    assert result.returncode == 2
    assert f"cannot read {file}: there is no such file" in result.stderr
    assert [path.name for path in here.iterdir()] == ["profile.json"]
    assert outputs(tmp_path) == {}


@pytest.mark.parametrize(
    ("version", "wanted"), [("", "/the action"), ("1.2 $(touch x)", "initscope==1.2 $(touch x)")]
)
def test_what_is_installed(tmp_path: Path, version: str, wanted: str) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s|" "$@"\necho\n')
    python.chmod(0o755)
    result = run_step("Install initscope", tmp_path, tmp_path, INITSCOPE_VERSION=version)
    torch, package = result.stdout.splitlines()
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (floor,) = (one for one in required if one.startswith("torch"))
    assert torch.endswith(f"https://download.pytorch.org/whl/cpu|{floor}|")
    assert package == f"-m|pip|install|{wanted}|"
