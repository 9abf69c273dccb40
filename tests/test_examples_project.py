"""What a project copies: examples/project runs, and all that is shown is what there is to use."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

import initscope.remedy  # noqa: F401 - with it loads all that a run inside this process needs
import installed
from initscope.cli import app
from initscope.settings import load_settings

ROOT = installed.ROOT
PROJECT = ROOT / "examples" / "project"
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CI = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")

pytest_plugins = ["pytester"]


def load(text: str) -> Any:
    return yaml.safe_load(text)


def fenced(language: str) -> list[Any]:
    return re.findall(rf"^```{language}\n(.*?)^```$", CI, re.MULTILINE | re.DOTALL)


ACTION = load((ROOT / "action.yml").read_text(encoding="utf-8"))
(HOOK,) = load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
WORKFLOW = load((ROOT / "examples" / "github-workflow.yml").read_text(encoding="utf-8"))
SHOWN = [load(block) for block in fenced("yaml")]


def uses(document: Any) -> Iterator[dict[str, Any]]:
    """Walk a workflow for its steps that use an action."""
    if isinstance(document, dict):
        if "uses" in document:
            yield document
        document = list(document.values())
    if isinstance(document, list):
        for item in document:
            yield from uses(item)


def hooks(document: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return what a pre-commit configuration takes from which repository."""
    return [(repo, hook) for repo in document.get("repos", []) for hook in repo["hooks"]]


# --- the project ---


@pytest.mark.slow
def test_the_sound_rule_passes_and_the_broken_one_is_caught(tmp_path: Path) -> None:
    project = shutil.copytree(PROJECT, tmp_path / "project")  # which keeps its caches
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-rx", "--xfail-tb", "-W", "error"],
        cwd=project, env=installed.environment(tmp_path), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    text = result.stdout
    assert result.returncode == 0, text + result.stderr
    assert "1 passed, 1 xfailed" in text
    assert re.search(r"^BROKEN +scaling-lost, 8 layers$", text, re.MULTILINE)
    assert "broken IS001 depth-exponent: the final residual variance goes as n_layer^" in text
    assert "XFAIL tests/test_init.py::test_the_check_catches_the_lost_scaling" in text


def test_the_rules_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROJECT)
    from tinygpt import initialisation as tinygpt  # type: ignore[import-not-found,unused-ignore]

    from initscope.config import GPTConfig
    from initscope.rules import get_rule
    from initscope.sites import all_parameters

    (check,) = load_settings(PROJECT / "pyproject.toml").checks
    sites = [p.site for p in all_parameters(GPTConfig(n_layer=3, bias=True, tied=False))]
    for rule, same in ((tinygpt.SOUND, check.rules[0]), (tinygpt.LOST, "nanogpt-flat")):
        assert [rule.draw(site) for site in sites] == [get_rule(same).draw(site) for site in sites]


def test_the_projects_test_and_its_settings_agree() -> None:
    (check,) = load_settings(PROJECT / "pyproject.toml").checks
    tree = ast.parse((PROJECT / "tests" / "test_init.py").read_text(encoding="utf-8"))
    (mark,) = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.keywords
               and ast.unparse(n.func) == "pytest.mark.initscope")  # fmt: skip
    marked = {word.arg: ast.literal_eval(word.value) for word in mark.keywords}
    assert marked.pop("depths") == check.depths
    assert marked.pop("bounds") == {"depth_exponent": check.bounds.depth_exponent}
    assert {"seeds": 3, **marked} == {**check.shape, **check.measurement}


# --- what is shown ---


def ours(step: dict[str, Any]) -> bool:
    return str(step["uses"]).startswith("initscope/")


def command_lines() -> list[str]:
    """Return every call of the command that the Action, the hooks and the examples make."""
    (script,) = (step["run"] for step in ACTION["runs"]["steps"] if step.get("id") == "check")
    (line,) = re.findall(r"^initscope check .*?(?= \|\| )", script, re.MULTILINE)
    steps = [step for document in (WORKFLOW, *SHOWN) for step in uses(document) if ours(step)]
    assert len(steps) == 2
    arguments = [step["with"]["args"] for step in steps]
    asked = [hook for document in SHOWN for _, hook in hooks(document)]
    assert len(asked) == 2
    return [
        *(line.replace('"${args[@]}"', words) for words in ("", *arguments)),
        *(shlex.join([*shlex.split({**HOOK, **h}["entry"]), *h.get("args", [])]) for h in asked),
        HOOK["entry"],
    ]


@pytest.mark.parametrize("line", command_lines())
def test_the_command_line_is_accepted(line: str) -> None:
    name, *words = shlex.split(line)
    assert name == "initscope"
    group = typer.main.get_command(app)
    context = group.make_context(name, list(words))
    command = group.get_command(context, words[0])  # type: ignore[attr-defined]
    command.make_context(words[0], words[1:])  # raises on an unknown option


def test_the_workflow_uses_what_the_action_has() -> None:
    assert WORKFLOW.keys() == {"name", True, "permissions", "jobs"}  # YAML 1.1 reads on as true
    steps = list(uses(WORKFLOW))
    (step,) = filter(ours, steps)
    assert step["with"].keys() <= ACTION["inputs"].keys()
    upload = steps[-1]
    for used in re.findall(rf"steps\.{step['id']}\.outputs\.(\w+)", str(upload)):
        assert used in ACTION["outputs"]
    assert WORKFLOW["permissions"]["security-events"] == "write"


def test_the_versions_shown_are_this_one() -> None:
    tag = f"v{CONFIG['version']}"
    home = CONFIG["urls"]["Homepage"]
    steps = [step for document in (WORKFLOW, *SHOWN) for step in uses(document) if ours(step)]
    assert {step["uses"] for step in steps} == {f"{home.removeprefix('https://github.com/')}@{tag}"}
    remote = [repo for document in SHOWN for repo, _ in hooks(document) if repo["repo"] != "local"]
    assert [(repo["repo"], repo["rev"]) for repo in remote] == [(home, tag)]


def test_the_hook_is_the_one_that_is_shown() -> None:
    taken, local = (hook for document in SHOWN for _, hook in hooks(document))
    assert taken["id"] == HOOK["id"]
    assert local["language"] == "system"
    assert HOOK["language"] == "python"  # so pre-commit installs this repository, command and all
    for hook in (HOOK, local):
        assert hook["pass_filenames"] is False  # check would take them for saved profiles


def test_the_settings_shown_are_right(tmp_path: Path) -> None:
    names = []
    for number, text in enumerate(fenced("toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(text, encoding="utf-8")
        names.append([check.name for check in load_settings(path).checks])
    assert names == [["check"], ["pretrain", "half precision"]]


@pytest.mark.slow
def test_the_test_shown_passes(pytester: pytest.Pytester) -> None:
    (code,) = fenced("python")
    pytester.makeini("[pytest]")
    pytester.makepyfile(code)
    pytester.syspathinsert(installed.entry_points(pytester.path / "site"))
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
