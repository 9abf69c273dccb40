"""What starts fast: help, version and ``import initscope`` load nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

import initscope
from initscope.cli import app

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "scipy", "pyarrow")

# Runs a statement, then names on stderr what it should not have loaded.
THEN_NAME_HEAVY = f"""
import sys
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"loaded {{', '.join(loaded)}}" if loaded else 0)
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python anew from the checkout, in a terminal too wide to wrap anything."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def loads_nothing_heavy(statement: str) -> str:
    """Run a statement, assert that nothing heavy came with it, and return its stdout."""
    result = python("-c", f"{statement}\n{THEN_NAME_HEAVY}")
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def commands(group: TyperGroup, *path: str) -> Iterator[tuple[str, TyperCommand]]:
    """Walk the commands of a group, and those of the groups in it, as (name, command)."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, *path, name)
        elif isinstance(command, TyperCommand):
            yield " ".join((*path, name)), command


ROOT_GROUP = typer.main.get_command(app)
assert isinstance(ROOT_GROUP, TyperGroup), "one command alone would be no group"
COMMANDS = dict(commands(ROOT_GROUP))
every_command = pytest.mark.parametrize("name", COMMANDS)


def test_the_commands_are_found() -> None:
    assert {"inspect", "compare", "show"} <= COMMANDS.keys()


@pytest.mark.parametrize(
    "statement",
    [
        "import initscope",
        "import initscope; dir(initscope)",
        "import initscope; initscope.__version__",
        "import initscope; initscope.GPTConfig(n_layer=2)",
        "import initscope; initscope.get_rule('nanogpt')",
        "import initscope.cli",
    ],
)
def test_import_is_light(statement: str) -> None:
    loads_nothing_heavy(statement)


def test_what_is_heavy_would_be_seen() -> None:
    result = python("-c", f"import initscope; initscope.inspect\n{THEN_NAME_HEAVY}")
    assert result.returncode == 1
    assert "loaded torch, numpy" in result.stderr


def light_output(*arguments: str) -> str:
    """Run the command line, assert that it succeeds unladen, and return its stdout."""
    call = f"from initscope.cli import main; assert main({list(arguments)}) == 0"
    return loads_nothing_heavy(call)


def test_help_is_light_and_names_every_command() -> None:
    words = light_output("--help").split()
    assert [name for name in COMMANDS if name.split()[0] not in words] == []


def test_version_is_light() -> None:
    assert light_output("--version").split() == ["initscope", initscope.__version__]


@every_command
def test_help_of_a_command_is_light_and_explains_it(name: str) -> None:
    text = COMMANDS[name].help
    assert text, "its function has no docstring"
    assert text.splitlines()[0] in light_output(*name.split(), "--help")


@every_command
def test_every_parameter_has_help(name: str) -> None:
    assert [p.name for p in COMMANDS[name].params if not getattr(p, "help", "")] == []


@every_command
def test_the_readme_shows_every_command(name: str) -> None:
    assert f"initscope {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_package_runs_as_a_module() -> None:
    result = python("-m", "initscope", "--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["initscope", initscope.__version__]


def test_a_wrong_command_is_a_usage_error() -> None:
    result = python("-m", "initscope", "no-such-command")
    assert result.returncode == 2
    assert "no-such-command" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
