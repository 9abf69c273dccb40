"""Which settings file is found, and what is said of one that is no TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from initscope.errors import UsageError
from initscope.settings import CheckSettings, Settings, load_settings

KNOWN = {"IS001": "depth-exponent"}
DEFAULT = CheckSettings(name="check")


def load(folder: Path, text: str, name: str = "initscope.toml") -> Settings:
    (folder / name).write_text(text, encoding="utf-8")
    return load_settings(start=folder, known=KNOWN)


def test_the_nearest_file_is_found_and_the_search_ends_at_the_repository(tmp_path: Path) -> None:
    outside, repository = tmp_path / "initscope.toml", tmp_path / "repository"
    inner = repository / "package" / "module"
    inner.mkdir(parents=True)
    outside.write_text("[check]\nseeds = 7\n")
    assert load_settings(start=inner, known=KNOWN).source == outside
    (repository / ".git").touch()  # a file in a worktree
    assert load_settings(start=inner, known=KNOWN).source is None
    for folder in (repository, inner.parent, inner):
        (folder / "pyproject.toml").write_text("[tool.initscope.check]\n")
        assert load_settings(start=inner, known=KNOWN).source == folder / "pyproject.toml"


def test_the_working_directory_is_where_the_search_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path, "") == load_settings(known=KNOWN)
    assert load_settings(known=KNOWN).source == tmp_path / "initscope.toml"


def test_initscope_toml_comes_first_and_a_pyproject_without_settings_is_passed_over(
    tmp_path: Path,
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("tool = 1\n")
    found = load(tmp_path, "[tool.initscope.check]\nseeds = 2\n", "pyproject.toml")
    assert load_settings(start=inner, known=KNOWN) == found
    assert found.checks[0].options().seeds == 2
    assert load(tmp_path, "[check]\nseeds = 4\n").checks[0].options().seeds == 4


def test_an_empty_table_is_found(tmp_path: Path) -> None:
    found = load(tmp_path, "[tool.initscope]\n", "pyproject.toml")
    assert found == Settings(tmp_path / "pyproject.toml", (DEFAULT,))
    assert load(tmp_path, "") == Settings(tmp_path / "initscope.toml", (DEFAULT,))


def test_a_file_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "ci.toml"
    path.write_bytes(b"\xef\xbb\xbf[check]\r\nbatch = 2\r\n")  # as Windows editors save it
    loaded = load_settings(path, known=KNOWN)
    assert loaded.source == path
    assert loaded.checks[0].measurement == {"seeds": 3, "batch": 2}
    with pytest.raises(UsageError, match=r"cannot read .*none\.toml: there is no such file"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(UsageError, match=r"pyproject\.toml has no table \[tool\.initscope\]"):
        load_settings(tmp_path / "pyproject.toml")


def test_a_file_above_is_named_by_its_relative_path(tmp_path: Path) -> None:
    (tmp_path / "initscope.toml").write_text("check = 1\n")
    (tmp_path / "inner").mkdir()
    with pytest.raises(UsageError) as caught:
        load_settings(start=tmp_path / "inner", known=KNOWN)
    assert str(caught.value) == f"{Path('..', 'initscope.toml')}: check: must be a table, not 1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[check]\nseeds = \n", r"is not valid TOML: .*\(at line 2, column 9\)$"),
        (b"[check]\n# \xff\n", r"is not UTF-8 \(at line 2\), as TOML must be$"),
        (b"x = " + b"[" * 5000, r"is not valid TOML: "),
        (b"x = " + b"9" * 5000, r"is not valid TOML: "),
    ],
)
def test_what_is_not_toml_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "initscope.toml").write_bytes(data)
    with pytest.raises(UsageError, match=f"^initscope.toml {message}"):
        load_settings(start=tmp_path, known=KNOWN)
