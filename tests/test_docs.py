"""The documents say what the code does: tables are generated, commands exist, Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from initscope import reference
from initscope.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Find the initscope commands in a document's shell blocks, as words."""
    blocks = "\n".join(fenced(text, "sh") + fenced(text, "console"))
    found = re.findall(r"(?:^|\$ |&& )(initscope [^|&#\n]+)", blocks, re.MULTILINE)
    return [shlex.split(line)[1:] for line in found]


def test_the_rules_table_is_the_registry() -> None:
    match = re.search(r"<!-- rules: .*? -->\n(.*?)<!-- end of rules -->", README, re.DOTALL)
    assert match is not None
    assert match[1].strip() == reference.rules_markdown().strip()


def test_the_page_of_checks_is_the_registry() -> None:
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    assert page == reference.checks_markdown()
    assert not list(reference.bounds_without_check())


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_commands_in_the_documents_exist(page: Path) -> None:
    group = typer.main.get_command(app)
    for words in commands(page.read_text(encoding="utf-8")):
        name, *rest = words
        context = group.make_context("initscope", words)
        command = group.get_command(context, name)  # type: ignore[attr-defined]
        assert command is not None, words
        command.make_context(name, rest)  # parses, and raises on an unknown option


def test_the_readme_shows_real_commands() -> None:
    shown = [words[0] for words in commands(README)]
    assert {"inspect", "compare", "check"} <= set(shown)
    for output in fenced(README, "console"):
        assert len(output.splitlines()) > 3, "run python docs/record.py"


def test_python_in_the_readme_runs() -> None:
    for code in fenced(README, "python"):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own document


def test_files_in_the_readme_exist() -> None:
    (tree,) = (block for block in fenced(README, "text") if "initscope/" in block)
    for line in tree.splitlines():
        inside = line.startswith("  ")
        for name in re.split(r"\s{2,}", line.strip())[0].split():
            assert (ROOT / "initscope" / name if inside else ROOT / name).exists(), name


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *PAGES]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)
