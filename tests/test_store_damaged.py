"""Whatever a file holds, loading it gives profiles or one sentence that says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory import make_profile
from initscope.errors import UsageError
from initscope.profile import COLUMNS
from initscope.store import encode, load, schema

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
VALID = encode(
    [make_profile(n_layer=2, variance=lambda layer: 1 / layer if layer else math.inf)], "json"
)

NUMBERS = {"n_layer", "seed", "layer"}
Edit = Callable[[Any], object]


def refusal(path: Path, data: bytes) -> str:
    """Return what loading the file says after naming it."""
    path.write_bytes(data)
    with pytest.raises(UsageError) as error:
        load(path)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert sentence.startswith(f"cannot read {path}: ")
    return sentence.removeprefix(f"cannot read {path}: ")


# --- files that are something else ---


@pytest.mark.parametrize(
    ("name", "data", "trouble"),
    [
        ("a.json", b"", "it is empty"),
        ("a.json", PNG, "it is not JSON, or damaged ('utf-8' codec can't decode byte 0x89"),
        ("A.JSON", PNG, "it is not JSON, or damaged ("),
        ("a.json", VALID[:-100], "it is not JSON, or damaged (Unterminated string"),
        ("a.json", b'{"schema": NaN}', "it is not JSON, or damaged (NaN is no JSON)"),
        ("a.json", b"[" * 100_000, "it is not JSON, or damaged (maximum recursion"),
        ("a.json", b'{"schema": ' + b"1" * 5000 + b"}", "it is not JSON, or damaged (Exceeds the"),
        ("a.json", b"[]", "it was not saved by initscope, or it would have a whole number"),
        ("a.json", b"{}", "it was not saved by initscope, or it would have a whole number"),
        ("a.json", b'{"schema": true}', "it was not saved by initscope"),
        ("a.json", b'{"schema": 0}', "there has never been a schema 0; it is damaged"),
        ("a.json", b'{"schema": 1}', "the document has no 'generator'"),
        ("a.parquet", PNG, "it is not Parquet, or damaged"),
        ("a.parquet", VALID, "it is not Parquet, or damaged"),
        ("a.txt", PNG, "it holds no profiles; those are saved as .json, .jsonl, .csv"),
        ("a.pkl", b"\x80\x04", "it holds no profiles; those are saved as .json, .jsonl, .csv"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes, trouble: str) -> None:
    assert refusal(tmp_path / name, data).startswith(trouble)


def test_a_newer_schema_is_refused_with_advice(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.json", b'{"schema": 7}') == (
        "written by a newer initscope (schema 7, this one reads 1): "
        "upgrade with pip install -U initscope"
    )


def test_an_older_schema_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, profiles = tmp_path / "a.json", json.loads(VALID)["profiles"]
    path.write_text(json.dumps({"schema": 1, "made_by": "initscope 0.1", "runs": profiles}))
    names = {"made_by": "author", "runs": "profiles"}
    steps = {
        1: lambda old: {names.get(key, key): value for key, value in old.items()},
        2: lambda old: {"generator": old["author"], "profiles": old["profiles"]},
    }
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    assert load(path)[0].config == make_profile(n_layer=2).config
    damaged = "it is damaged: not every field of schema 2 is there"
    assert refusal(path, b'{"schema": 2}') == damaged
    monkeypatch.setattr(schema, "MIGRATIONS", {2: steps[2]})
    assert refusal(path, b'{"schema": 1}') == "there has never been a schema 1; it is damaged"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a folder; name a file in it"):
        load(tmp_path)
    with pytest.raises(UsageError, match=r"cannot read .*gone\.json: there is no such file"):
        load(tmp_path / "gone.json")


# --- documents that are not what they should be ---


def profile(edit: Edit) -> Edit:
    return lambda saved: edit(saved["profiles"][0])


def series(edit: Edit) -> Edit:
    """Edit the first series with an infinity in it."""
    return profile(lambda one: edit(next(s for s in one["series"] if "inf" in s)))


@pytest.mark.parametrize(
    ("edit", "trouble"),
    [
        (lambda s: s.update(profiles={}), "'profiles' of the document should be a list"),
        (lambda s: s.update(profiles=[]), "it holds no profiles"),
        (lambda s: s.update(profiles=[3]), "profile 1 is a number, but should be an object"),
        (lambda s: s["profiles"].append(None), "profile 2 is null, but should be an object"),
        (profile(lambda p: p.pop("run")), "profile 1 has no 'run'"),
        (profile(lambda p: p.update(rule=3)), "'rule' of profile 1 should be a text"),
        (profile(lambda p: p.update(rule="\ud800")), "a name in it is not valid Unicode"),
        (profile(lambda p: p.update(series=[])), "its profile of 'nanogpt' has no readings"),
        (profile(lambda p: p["config"].pop("n_layer")), "the configuration has no 'n_layer'"),
        (profile(lambda p: p["config"].update(n_embed=3)),
         "unknown field of the configuration 'n_embed': did you mean 'n_embd'?"),
        (profile(lambda p: p["config"].update(n_embd="64")),
         "'n_embd' of the configuration should be a whole number"),
        (profile(lambda p: p["config"].update(norm_eps=float("1e999"))),
         "it is not JSON, or damaged (Infinity is no JSON)"),
        (profile(lambda p: p["config"].update(bias=0)),
         "'bias' of the configuration should be true or false"),
        (profile(lambda p: p["config"].update(norm="pro")),
         "unknown norm 'pro': did you mean 'pre'?"),
        (profile(lambda p: p["config"].update(n_head=7)),
         "n_embd 64 is not a multiple of n_head 7"),
        (profile(lambda p: p["run"].update(seeds=["0"])),
         "'seeds' of the run should be a list of whole numbers"),
        (profile(lambda p: p["run"].update(versions={"torch": 2})),
         "'versions' of the run should be an object of texts"),
        (profile(lambda p: p["run"].update(sources="x")), "unknown field of the run 'sources'"),
        (series(lambda s: s.update(seed=2**63)), "'seed' of series 5 should be a whole number"),
        (series(lambda s: s.update(layer=[0, True])),
         "'layer' of series 5 should be a list of whole numbers"),
        (series(lambda s: s.update(layer=[0, 2**63])),
         "'layer' of series 5 should be a list of whole numbers"),
        (series(lambda s: s.update(value=["1.5", 2.0])),
         "'value' of series 5 should be a list of numbers and nulls"),
        (series(lambda s: s.update(value=[10**400, 2])), "series 5 has a number beyond the range"),
        (series(lambda s: s["layer"].pop()), "series 5 has not as many layers as values"),
        (series(lambda s: s.pop("non_finite")), "series 5 has nulls that do not match"),
        (series(lambda s: s.update({"-inf": [0]})), "series 5 has nulls that do not match"),
        (series(lambda s: s.update(inf=[1])), "series 5 has nulls that do not match"),
        (series(lambda s: s.update(inf=[-2])), "series 5 has nulls that do not match"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(tmp_path: Path, edit: Edit, trouble: str) -> None:
    saved = json.loads(VALID)
    edit(saved)
    assert refusal(tmp_path / "a.json", json.dumps(saved).encode()).startswith(trouble)


@pytest.mark.parametrize(
    ("number", "trouble"),
    [
        (b'"value":[-1.0]', "series 1 has nulls that do not match its 'non_finite'"),
        (b'"norm_eps":1e-05', "'norm_eps' of the configuration should be a finite number"),
    ],
)
def test_a_number_too_large_is_no_infinity(tmp_path: Path, number: bytes, trouble: str) -> None:
    huge = number.replace(b"-1.0", b"1e999").replace(b"1e-05", b"1e999")
    assert huge in (data := VALID.replace(number, huge))
    assert refusal(tmp_path / "a.json", data).startswith(trouble)


# --- Parquet that is not what it should be ---

FOREIGN = "it is Parquet, but was not saved by initscope"
DAMAGED = "it is not Parquet, or damaged"
OTHER_ROWS = "its rows are not those that were saved"


def test_another_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    make_profile().table.to_parquet(path)
    assert refusal(path, path.read_bytes()) == FOREIGN
    path.write_bytes(encode([make_profile()], "parquet"))
    pq.write_table(pq.read_table(path).drop_columns("seed"), path)
    assert refusal(path, path.read_bytes()) == FOREIGN


def described(rows: list[int]) -> str:
    """Return the metadata of profiles that say to have so many rows."""
    one = json.loads(VALID)["profiles"][0]
    del one["series"]
    profiles = [{**one, "rows": count} for count in rows]
    return json.dumps({"schema": 1, "generator": "x", "profiles": profiles})


@pytest.mark.parametrize(
    ("column", "values", "metadata", "trouble"),
    [
        ("value", [1.0, None], described([2]), "it has rows with missing values"),
        ("value", [{"x": 1.0}] * 2, described([2]), DAMAGED),
        ("value", ["x", "y"], described([2]), DAMAGED),
        ("site", pa.array([b"\xff"] * 2).view(pa.string()), described([2]), DAMAGED),
        ("value", [1.0, 2.0], "[" * 100_000, DAMAGED),
        ("value", [1.0, 2.0], "{", DAMAGED),
        ("value", [1.0, 2.0], "{}", "it was not saved by initscope, or it would have"),
        ("value", [1.0, 2.0], described([]), "it holds no profiles"),
        ("value", [1.0, 2.0], described([3]), OTHER_ROWS),
        ("value", [1.0, 2.0], described([1]), OTHER_ROWS),
        ("value", [1.0, 2.0], described([2, 0]), OTHER_ROWS),
        ("value", [1.0, 2.0], described([3, -1]), OTHER_ROWS),
    ],
)
def test_a_wrong_column_is_refused(
    tmp_path: Path, column: str, values: list[Any], metadata: str, trouble: str
) -> None:
    path = tmp_path / "a.parquet"
    columns = {name: [1, 1] if name in NUMBERS else ["x", "x"] for name in COLUMNS[:-1]}
    table = pa.table(
        {**columns, "value": [1.0, 2.0], column: values}, metadata={"initscope": metadata}
    )
    pq.write_table(table, path)
    assert refusal(path, path.read_bytes()).startswith(trouble)


def test_a_flipped_bit_is_never_another_reading(tmp_path: Path) -> None:
    path, profile = tmp_path / "a.parquet", make_profile(n_layer=40)
    data = encode([profile], "parquet")
    footer = int.from_bytes(data[-8:-4], "little") + 8
    for place in range(4, len(data) - footer, 29):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        try:
            assert load(path)[0].table.equals(profile.table)
        except UsageError as error:
            assert str(error) == f"cannot read {path}: {DAMAGED}"  # noqa: PT017
