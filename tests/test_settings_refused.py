"""What a settings file may not say, and the one clear sentence that it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from initscope.errors import UsageError
from initscope.settings import CheckSettings, load_settings

KNOWN = {"IS001": "depth-exponent", "IS009": "attention-entropy", "IS010": "branch-balance"}


def complaint(folder: Path, text: str, name: str = "initscope.toml") -> str:
    """Return what is said of a file."""
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_settings(start=folder, known=KNOWN)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("chek.seeds = 1", "chek", "did you mean 'check'?"),
        ("ruls.own.std = 1", "ruls", "did you mean 'rules'?"),
        ("check.n_layers = 1", "check.n_layers", "did you mean 'n_layer'?"),
        ("check.seed = 1", "check.seed", "did you mean 'seeds'?"),
        ("check.bounds.headrom = 1", "check.bounds.headrom", "did you mean 'headroom'?"),
        ("check.levels.balance = 'warn'", "check.levels.balance", "did you mean 'branch-balance'?"),
        ("checks = [{name = 'a', rules = ''}]", "checks[a].rules", "did you mean 'rule'?"),
    ],
)
def test_a_key_that_does_not_exist(tmp_path: Path, text: str, key: str, hint: str) -> None:
    assert complaint(tmp_path, text) == f"initscope.toml: unknown key '{key}': {hint}"


def test_a_key_of_pyproject_is_named_in_full(tmp_path: Path) -> None:
    said = complaint(tmp_path, "[tool.initscope.check]\nn_layers = 12\n", "pyproject.toml")
    key = "tool.initscope.check.n_layers"
    assert said == f"pyproject.toml: unknown key '{key}': did you mean 'n_layer'?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("check = [{}]", "check: must be a table, not [a table]"),
        ("check.name = 'a'", "check.name: these defaults have no name; each of 'checks' has"),
        ("checks = {}", "checks: must be a list of tables in double brackets, not a table"),
        ("checks = [1]", "checks: must be a list of tables in double brackets, not [1]"),
        ("checks = [{seeds = 1}]", "checks[#1]: needs a name"),
        ("checks = [{name = 7}]", "checks[#1].name: must be a line of text in quotes, not 7"),
        (
            "checks = [{name = 'a'}, {name = 'a'}]",
            "checks: two are named 'a'; each needs its own name",
        ),
    ],
)
def test_tables_of_the_wrong_form(tmp_path: Path, text: str, message: str) -> None:
    assert complaint(tmp_path, text) == f"initscope.toml: {message}"


WHOLE, NUMBER = "must be a whole number of at least", "must be a number"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bounds", "1", "must be a table, not 1"),
        ("seeds", "'three'", f'{WHOLE} 1, not "three"'),
        ("seeds", "true", f"{WHOLE} 1, not true"),
        ("batch", "0", f"{WHOLE} 1, not 0"),
        ("seq_len", "-1", f"{WHOLE} 0, not -1"),
        ("max_seeds", "1.5", f"{WHOLE} 1, not 1.5"),
        ("n_layer", "[12, 2.5]", f"{WHOLE} 1, not 2.5"),
        ("n_layer", "[2, 2]", "names 2 twice"),
        ("precision", "0", f"{NUMBER} above 0, not 0"),
        ("precision", "nan", f"{NUMBER} above 0, not nan"),
        ("precision", "true", f"{NUMBER} above 0, not true"),
        ("norm_eps", "inf", f"{NUMBER} above 0, not inf"),
        ("bounds.headroom", "'x'", "bound headroom must be a number of at least 0, not 'x'"),
        ("tied", "'no'", 'must be true or false, not "no"'),
        ("ignore", "''", 'must be a line of text in quotes, not ""'),
        ("device", "'gpu'", 'must be "auto", "cpu", "mps", "cuda" or "cuda:N", not "gpu"'),
        ("rule", "[]", "must not be an empty list"),
        ("rule", "['nanogpt', 'nanogpt']", 'names "nanogpt" twice'),
        ("rule", "'nanogtp'", "unknown rule 'nanogtp': did you mean 'nanogpt'?"),
        ("norm", "'prenorm'", "unknown norm 'prenorm': did you mean 'pre'?"),
        ("preset", "'gpt-2'", "unknown preset 'gpt-2': did you mean 'gpt2'?"),
        ("dtype", "'float23'", "unknown dtype 'float23': did you mean 'float32'?"),
        ("tokens", "'zpf'", "unknown token source 'zpf': did you mean 'zipf'?"),
        ("select", "['depth-expnent']",
         "unknown check 'depth-expnent': did you mean 'depth-exponent'?"),
        ("levels.IS001", "'warning'", "unknown level 'warning': did you mean 'warn'?"),
        ("levels", "{IS001 = 'warn', depth-exponent = 'error'}",
         "IS001 and depth-exponent are the same check; name it once"),
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind(tmp_path: Path, key: str, value: str, message: str) -> None:
    assert (
        complaint(tmp_path, f"check.{key} = {value}") == f"initscope.toml: check.{key}: {message}"
    )


def test_a_selection_that_fits_no_check(tmp_path: Path) -> None:
    said = complaint(tmp_path, "check.select = ['IS', 'IS02']")
    assert said.startswith("initscope.toml: check.select: unknown check 'IS02': ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "checks = [{name = 'a', n_embd = 100, n_head = 3}]",
            "checks[a]: n_embd 100 is not a multiple of n_head 3; 2 heads would divide it",
        ),
        (
            "check = {seq_len = 64, block_size = 32}",
            "check: --seq-len 64 is beyond --block-size 32, the length of the position table",
        ),
        (
            "check = {select = 'IS00', ignore = ['depth-exponent', 'IS009']}",
            "check: select and ignore leave no check to run",
        ),
    ],
)
def test_values_that_are_wrong_together(tmp_path: Path, text: str, message: str) -> None:
    assert complaint(tmp_path, text) == f"initscope.toml: {message}"


def test_a_long_value_is_not_repeated_in_full(tmp_path: Path) -> None:
    assert len(complaint(tmp_path, f"check.seeds = '{'x' * 1000}'")) < 200


def test_flags_that_do_not_exist() -> None:
    check = CheckSettings(name="check")
    with pytest.raises(UsageError, match="unknown bound 'headrom': did you mean 'headroom'"):
        check.replace(bounds={"headrom": 1})
    with pytest.raises(UsageError, match="unknown preset 'gpt5'"):
        check.replace(shape={"preset": "gpt5"})
