"""What the project says of itself holds: names, version, dependencies, layers, changelog."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import initscope

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "initscope"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CONFIG = tomllib.loads(PYPROJECT)

LINES_OF_A_FILE = 250  # fewer than
LINES_OF_A_FUNCTION = 50  # at most
LINES_OF_MOST_FUNCTIONS = 10  # the median: fewer than


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


# --- public names ---


@pytest.mark.parametrize("name", initscope.__all__)
def test_a_public_name_is_what_its_module_holds(name: str) -> None:
    home = importlib.import_module(f"initscope.{initscope._HOMES[name]}")
    value = getattr(initscope, name)
    assert value is getattr(home, name)
    assert inspect.getdoc(value)


def test_names_served_exported_typed_and_listed_are_the_same() -> None:
    typed = {
        alias.name: node.module.removeprefix("initscope.")
        for node in nodes(PACKAGE / "__init__.py")
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("initscope.")
        for alias in node.names
    }
    assert typed == initscope._HOMES
    assert sorted(typed) == sorted(initscope.__all__)
    assert dir(initscope) == sorted([*typed, "__version__"])


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'initscope' has no attribute 'inspct'"):
        initscope.inspct  # type: ignore[attr-defined]  # noqa: B018


def test_types_are_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()


# --- version and dependencies ---


def test_the_version_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"initscope": "9.8.7"}.__getitem__)
    assert initscope._version() == "9.8.7"


def test_the_version_is_unknown_without_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert initscope._version() == "0+unknown"


def imported() -> set[str]:
    """Name what the package imports that is neither its own nor Python's."""
    modules: set[str] = set()
    for node in (node for path in SOURCES for node in nodes(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    top = {module.partition(".")[0] for module in modules}
    return top - {*sys.stdlib_module_names, "initscope"}


def distributions(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


REQUIRED = distributions(CONFIG["project"]["dependencies"])


def test_what_is_imported_is_declared() -> None:
    optional: set[str] = set()
    for extra, requirements in CONFIG["project"]["optional-dependencies"].items():
        if extra not in {"test", "dev"}:
            optional |= distributions(requirements)
    assert imported() - REQUIRED - optional == set()


def test_what_is_required_is_imported() -> None:
    assert REQUIRED - imported() == set()


# --- architecture ---

# With torch out of reach, import each module named and print those that cannot do without.
WITHOUT_TORCH = """
import importlib, sys
sys.modules["torch"] = None
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        print(name)
"""


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def tops(modules: Iterable[str]) -> set[str]:
    """Cut ``initscope.rules.core`` down to ``initscope.rules``."""
    return {".".join(module.split(".")[:2]) for module in modules}


def test_what_loads_without_torch_is_under_contract_to_stay_so() -> None:
    modules = {dotted(path) for path in SOURCES} - {"initscope", "initscope.__main__"}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *sorted(modules)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    contracts = CONFIG["tool"]["importlinter"]["contracts"]
    contract = next(c for c in contracts if c.get("forbidden_modules") == ["torch"])
    # These load without torch too, but from inside their functions reach everything.
    lazy = {"initscope.cli", "initscope.gate", "initscope.pytest_plugin"}
    free = tops(modules) - tops(result.stdout.split()) - lazy
    assert set(contract["source_modules"]) == free


def test_files_are_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("initscope", "tests", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: n for path, n in lengths.items() if n >= LINES_OF_A_FILE} == {}


def functions() -> Iterator[tuple[str, int]]:
    """Name every function of the package, with the number of its lines."""
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                yield where, node.end_lineno - node.lineno + 1


def test_functions_are_short() -> None:
    assert {name: n for name, n in functions() if n > LINES_OF_A_FUNCTION} == {}
    assert statistics.median(n for _, n in functions()) < LINES_OF_MOST_FUNCTIONS


def test_every_lint_rule_left_out_has_its_reason() -> None:
    left_out = re.findall(r'^    "[A-Z]+\d*",.*$', PYPROJECT, flags=re.MULTILINE)
    assert len(left_out) > len(CONFIG["tool"]["ruff"]["lint"]["ignore"])
    assert [line for line in left_out if not re.search(r"# \w+", line)] == []


# --- changelog ---


def test_the_changelog_links_every_version_to_its_changes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, *released = re.findall(r"^## \[(.+?)\]", text, flags=re.MULTILINE)
    assert unreleased == "Unreleased"
    tags = ["HEAD", *(f"v{version}" for version in released)]
    links = [f"compare/{older}...{newer}" for newer, older in pairwise(tags)]
    links.append(f"releases/tag/{tags[-1]}" if released else "commits/main")
    host = CONFIG["project"]["urls"]["Homepage"]
    expected = {
        version: f"{host}/{link}"
        for version, link in zip([unreleased, *released], links, strict=True)
    }
    assert dict(re.findall(r"^\[(.+?)\]: (\S+)$", text, flags=re.MULTILINE)) == expected
