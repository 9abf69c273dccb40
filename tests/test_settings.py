"""Settings: what a file may say and what it means, and flags over it."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from initscope import settings
from initscope.bounds import Bounds
from initscope.config import GPTConfig
from initscope.options import Options
from initscope.settings import CheckSettings, Settings, load_settings
from initscope.settings.tables import _left, _registered, _schema
from initscope.verdict import Level

KNOWN = {"IS001": "depth-exponent", "IS009": "attention-entropy", "IS010": "branch-balance"}
DEFAULT = CheckSettings(name="check")


def load(folder: Path, text: str, name: str = "initscope.toml") -> Settings:
    (folder / name).write_text(text, encoding="utf-8")
    return load_settings(start=folder, known=KNOWN)


def one(folder: Path, text: str) -> CheckSettings:
    (check,) = load(folder, text).checks
    return check


# --- what it means ---


def test_without_a_file_there_is_one_check_with_the_defaults(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert load_settings(start=tmp_path) == Settings(None, (DEFAULT,))
    assert (DEFAULT.rules, DEFAULT.depths, DEFAULT.options().seeds) == (("nanogpt",), (48,), 3)
    assert list(DEFAULT.cases()) == [("nanogpt", GPTConfig(n_layer=48))]
    assert DEFAULT.bounds == Bounds()


MATRIX = """
[check]
n_embd = 128
seeds = 2
rule = "xavier"
select = ["IS", "depth-exponent"]
[check.bounds]
depth_exponent = 0.3
headroom = 2
[check.levels]
branch-balance = "warn"
IS009 = "warn"

[[checks]]
name = "pretrain"
rule = ["nanogpt", "xavier"]
n_layer = [12, 48]
select = []
ignore = ["is009"]
precision = 1
[checks.bounds]
headroom = 3.5
[checks.levels]
IS010 = "error"

[[checks]]
name = "own width"
n_embd = 64
seq_len = 32
forward_only = true
"""


def test_checks_amend_the_defaults_of_their_file(tmp_path: Path) -> None:
    first, second = load(tmp_path, MATRIX).checks
    assert first == CheckSettings(
        name="pretrain",
        rules=("nanogpt", "xavier"),
        depths=(12, 48),
        shape={"n_embd": 128},
        measurement={"seeds": 2},
        bounds=Bounds(depth_exponent=0.3, headroom=3.5),
        ignore=("is009",),
        levels={"IS010": Level.ERROR, "IS009": Level.WARN},
        precision=1.0,
    )
    assert second == CheckSettings(
        name="own width",
        rules=("xavier",),
        shape={"n_embd": 64},
        measurement={"seeds": 2, "seq_len": 32, "forward_only": True},
        bounds=Bounds(depth_exponent=0.3, headroom=2),
        select=("IS", "depth-exponent"),
        levels={"IS010": Level.WARN, "IS009": Level.WARN},
    )


def test_a_matrix_has_every_rule_at_every_depth(tmp_path: Path) -> None:
    first, _ = load(tmp_path, MATRIX).checks
    assert [(rule, config.n_layer) for rule, config in first.cases()] == [
        ("nanogpt", 12), ("nanogpt", 48), ("xavier", 12), ("xavier", 48),
    ]  # fmt: skip
    assert {config.n_embd for _, config in first.cases()} == {128}


def test_the_same_is_read_from_either_file(tmp_path: Path) -> None:
    def dotted(found: re.Match[str]) -> str:
        return f"{found[1]}tool.initscope.{found[2]}"

    shared = re.sub(r"^(\[+)(\w)", dotted, MATRIX, flags=re.MULTILINE)
    assert tomllib.loads(shared)["tool"]["initscope"] == tomllib.loads(MATRIX)
    checks = load(tmp_path, shared, "pyproject.toml").checks
    assert checks == load(tmp_path, MATRIX).checks


def test_the_defaults_alone_are_one_check(tmp_path: Path) -> None:
    text = "checks = []\n[check]\nn_layer = 6\nmax_seeds = 4\nallow_inconclusive = true\n"
    assert one(tmp_path, text) == CheckSettings(
        name="check", depths=(6,), max_seeds=4, allow_inconclusive=True
    )


def test_a_preset_is_a_shape_with_its_depth(tmp_path: Path) -> None:
    check = one(tmp_path, "[check]\npreset = 'gpt2-xl'\n")
    assert check.depths == (48,)
    (case,) = one(tmp_path, "[check]\npreset = 'gpt2'\nn_layer = 2\nn_embd = 100\n").cases()
    assert (case[1].n_layer, case[1].n_embd, case[1].n_head, case[1].bias) == (2, 100, 2, True)


def test_a_preset_replaces_the_shape_of_the_defaults(tmp_path: Path) -> None:
    text = "[check]\nn_embd = 100\nn_layer = 3\n[[checks]]\nname = 'gpt2'\npreset = 'gpt2'\n"
    (case,) = one(tmp_path, text).cases()
    assert (case[1].n_layer, case[1].n_embd) == (12, 768)


def test_tokens_are_a_file_beside_the_settings(tmp_path: Path) -> None:
    assert one(tmp_path, "[check]\ntokens = 'uniform'\n").options().tokens == "uniform"
    text = "[check]\ntokens = 'data/val.bin'\n"
    assert one(tmp_path, text).options().tokens == str(tmp_path / "data" / "val.bin")
    (tmp_path / "corpus").touch()
    text = "[check]\ntokens = 'corpus'\n"
    assert one(tmp_path, text).options().tokens == str(tmp_path / "corpus")


# --- flags over the file ---


def test_flags_beat_the_file_and_none_is_no_flag() -> None:
    filed = DEFAULT.replace(shape={"n_embd": 128, "tied": False}, levels={"IS001": Level.WARN})
    flagged = filed.replace(
        rules=["xavier"],
        depths=None,
        shape={"n_embd": 64, "n_head": None},
        measurement={"batch": 4, "seeds": None, "forward_only": False},
        bounds={"headroom": 1.0, "loss_excess": None},
        levels={"IS009": Level.ERROR},
        precision=0.2,
    )
    assert flagged == CheckSettings(
        name="check",
        rules=("xavier",),
        shape={"n_embd": 64, "tied": False},
        measurement={"seeds": 3, "batch": 4, "forward_only": False},
        bounds=Bounds(headroom=1.0),
        levels={"IS001": Level.WARN, "IS009": Level.ERROR},
        precision=0.2,
    )
    assert filed.shape == {"n_embd": 128, "tied": False}
    assert filed.replace(bounds=Bounds(headroom=1)).bounds == Bounds(headroom=1)


def test_a_preset_flag_replaces_the_shape_and_depth_of_the_file() -> None:
    filed = DEFAULT.replace(shape={"n_embd": 128}, depths=(6,))
    flagged = filed.replace(shape={"preset": "gpt2", "tied": False})
    assert (flagged.shape, flagged.depths) == ({"preset": "gpt2", "tied": False}, (12,))
    assert filed.replace(shape={"preset": "gpt2"}, depths=(3,)).depths == (3,)
    assert filed.replace(shape={"preset": None}) == filed


# --- what holds as the project grows ---


def test_every_field_has_its_key(tmp_path: Path) -> None:
    fields = {
        field.name: field.default
        for kind in (GPTConfig, Options)
        for field in dataclasses.fields(kind)
    }
    keys = _schema(tmp_path, KNOWN)
    own = {field.name for field in dataclasses.fields(CheckSettings)}
    own = own - {"shape", "measurement", "rules", "depths"} | {"rule", "preset"}
    assert keys.keys() == fields.keys() | own
    assert not fields.keys() & own
    for name, default in fields.items():
        read = keys[name]
        assert callable(read)
        assert name == "n_layer" or read(default) == default


def test_the_registered_checks_are_known() -> None:
    known = _registered()
    assert known["IS001"] == "depth-exponent"
    assert all(re.fullmatch(r"IS\d{3}", code) for code in known)


def test_a_selection_is_read_as_it_is_judged() -> None:
    from initscope.judging import selected

    known = _registered()
    for select, ignore in ((), ()), (("is00", "headroom"), ("IS003",)), (("IS",), ("IS00",)):
        check = DEFAULT.replace(select=select, ignore=ignore)
        assert _left(check, known) == [found.code for found in selected(select, ignore)]


def test_the_example_of_the_documentation_is_right(tmp_path: Path) -> None:
    assert settings.__doc__
    _, _, example = settings.__doc__.partition("::\n")
    check = one(tmp_path, example)
    assert (check.name, len(list(check.cases()))) == ("pretrain", 6)
    assert check.bounds == Bounds(depth_exponent=0.3)


def test_settings_are_read_without_torch(tmp_path: Path) -> None:
    (tmp_path / "initscope.toml").write_text(MATRIX)
    script = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path; "
        "from initscope.settings import load_settings; "
        "print(*(check.name for check in load_settings(start=Path(sys.argv[1])).checks))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout == "pretrain own width\n"
