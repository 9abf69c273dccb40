"""What is saved comes back: every value exactly, with the configuration and the run."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import initscope
from factory import make_profile
from initscope.config import PRESETS, GPTConfig
from initscope.errors import UsageError
from initscope.profile import COLUMNS, Profile, concat
from initscope.store import FORMATS, check_saving, encode, load

KEYS = ["n_layer", "seed", "site", "direction", "statistic"]
SAVED = ("json", "parquet")
HARD = (math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3, -1e16)

every_format = pytest.mark.parametrize("name", SAVED)


def save(folder: Path, profiles: Sequence[Profile], name: str) -> Path:
    path = folder / f"run.{name}"
    path.write_bytes(encode(profiles, name))
    return path


def hard_profile() -> Profile:
    """Build a profile with every float that could get lost, once in each place of a series."""
    return make_profile(
        n_layer=2 * len(HARD),
        seeds=(0, 2**62),
        variance=lambda layer: HARD[(layer + 1) % len(HARD)],
    )


def by_series(table: pd.DataFrame) -> pd.DataFrame:
    """Put the rows of a series together, in the order in which the series first appear."""
    series: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(table[KEYS].itertuples(index=False, name=None)):
        series.setdefault(key, []).append(row)
    return table.iloc[[row for rows in series.values() for row in rows]].reset_index(drop=True)


def bits(table: pd.DataFrame) -> list[int]:
    """Return the values' bits: unlike ==, these tell NaN and the sign of zero."""
    return table["value"].to_numpy().view(np.int64).tolist()


def assert_equal(loaded: Profile, expected: Profile) -> None:
    assert loaded.rule == expected.rule
    assert loaded.config == expected.config
    assert loaded.run == expected.run
    assert_frame_equal(loaded.table, expected.table, check_exact=True)
    assert bits(loaded.table) == bits(expected.table)


# --- round trips ---


def test_json_puts_the_rows_of_a_series_together(tmp_path: Path) -> None:
    profile = hard_profile()
    ordered = replace(profile, table=by_series(profile.table))
    assert bits(ordered.table) != bits(profile.table), "the rows were to be interleaved"
    assert_equal(load(save(tmp_path, [profile], "json"))[0], ordered)
    assert_equal(load(save(tmp_path, [ordered], "json"))[0], ordered)


def test_json_keeps_layers_in_the_order_in_which_they_appear(tmp_path: Path) -> None:
    profile = make_profile(n_layer=5)
    backwards = replace(profile, table=by_series(profile.table[::-1]))
    layers = backwards.table["layer"][:5].tolist()
    assert layers == [4, 3, 2, 1, 0]
    assert_equal(load(save(tmp_path, [backwards], "json"))[0], backwards)


def test_parquet_keeps_every_row_in_its_place(tmp_path: Path) -> None:
    profile = hard_profile()
    assert_equal(load(save(tmp_path, [profile], "parquet"))[0], profile)


@every_format
def test_several_profiles_come_back_in_order(tmp_path: Path, name: str) -> None:
    one = make_profile("xavier", seeds=(3,))
    profiles = [one, make_profile(), replace(one, config=one.config.at_depth(7))]
    loaded = load(save(tmp_path, profiles, name))
    for got, profile in zip(loaded, profiles, strict=True):
        assert_equal(
            got,
            replace(profile, table=by_series(profile.table) if name == "json" else profile.table),
        )


@every_format
@pytest.mark.parametrize("preset", PRESETS)
def test_every_configuration_comes_back(tmp_path: Path, name: str, preset: str) -> None:
    config = GPTConfig(**{**PRESETS[preset], "norm_eps": 1 / 3, "norm": "sandwich"})
    profile = replace(make_profile(), config=config)
    assert load(save(tmp_path, [profile], name))[0].config == config


@every_format
def test_names_and_depths_of_any_kind_come_back(tmp_path: Path, name: str) -> None:
    small, large = (
        make_profile('σ, "quoted"\n', n_layer=2),
        make_profile('σ, "quoted"\n', n_layer=4),
    )
    table = by_series(concat([large.table, small.table]))
    table.loc[:3, "site"] = ["a,b", "naïve\n", "None", "nan"]
    run = replace(large.run, tokens="caf\udce9.txt")  # as Python spells undecodable file names
    profile = replace(large, table=by_series(table), run=run)
    assert_equal(load(save(tmp_path, [profile], name))[0], profile)


@every_format
def test_saving_again_changes_nothing(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, [hard_profile(), make_profile("xavier")], name)
    before = path.read_bytes()
    assert save(tmp_path, load(path), name).read_bytes() == before


@every_format
def test_a_table_with_another_rules_readings_is_not_saved(name: str) -> None:
    profile = replace(make_profile(), table=make_profile("xavier").table)
    with pytest.raises(ValueError, match="another rule"):
        encode([profile], name)


# --- what is in the files ---


def test_json_is_strict_and_says_what_it_is() -> None:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    saved = json.loads(encode([hard_profile()], "json"), parse_constant=refuse)
    assert (saved["schema"], saved["generator"]) == (1, f"initscope {initscope.__version__}")
    assert saved["profiles"][0].keys() == {"rule", "config", "run", "series"}


def test_a_series_counts_and_places_what_json_has_no_number_for() -> None:
    values = [math.inf, math.nan, 1.0, -math.inf, math.inf]
    profile = make_profile(n_layer=5, seeds=(0,), variance=lambda layer: values[layer])
    series = json.loads(encode([profile], "json"))["profiles"][0]["series"]
    key = {"n_layer": 5, "seed": 0, "site": "resid_post", "direction": "forward"}
    expected = {"value": [None, None, 1.0, None, None], "non_finite": 4, "inf": [0, 4], "-inf": [3]}
    assert {**key, "statistic": "variance", "layer": [0, 1, 2, 3, 4], **expected} in series
    finite = json.loads(encode([make_profile()], "json"))["profiles"][0]["series"]
    assert {name for one in finite for name in one} == {*KEYS, "layer", "value"}


def test_parquet_is_the_long_table_for_any_reader(tmp_path: Path) -> None:
    profiles = [hard_profile(), make_profile("xavier")]
    read = pd.read_parquet(save(tmp_path, profiles, "parquet"))
    table = concat([profile.table for profile in profiles])
    assert_frame_equal(read, table, check_exact=True)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV of readings as any tool could: texts, whole numbers and a float."""
    whole = {"n_layer", "seed", "layer"}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = {name: int if name in whole else float if name == "value" else str for name in rows[0]}
    return pd.DataFrame([{name: kinds[name](row[name]) for name in row} for row in rows])


def test_csv_has_the_readings_and_nothing_else(tmp_path: Path) -> None:
    profiles = [hard_profile(), make_profile('None, "σ"')]
    read = read_table(save(tmp_path, profiles, "csv"))
    table = concat([profile.table for profile in profiles])
    assert tuple(read.columns) == COLUMNS
    assert_frame_equal(read, table, check_exact=True)
    assert bits(read) == bits(table)


def test_a_csv_is_not_shown_again(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        load(save(tmp_path, [make_profile()], "csv"))
    assert str(refusal.value) == (
        f"cannot read {tmp_path / 'run.csv'}: a CSV has the readings but not the configuration; "
        "save with --json or --parquet what initscope is to show again"
    )


# --- formats ---


@every_format
def test_a_file_of_any_name_is_known_by_its_beginning(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / "no-suffix", tmp_path / "run.bak", tmp_path / f"RUN.{name.upper()}"):
        path.write_bytes(encode([make_profile()], name))
        assert load(str(path))[0].rule == "nanogpt"


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown format 'jsn': did you mean 'json'"):
        encode([make_profile()], "jsn")


def test_saving_is_checked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FORMATS:
        check_saving(name, tmp_path / "out")
        with pytest.raises(UsageError, match="does not exist"):
            check_saving(name, tmp_path / "gone" / "out")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    check_saving("json", "-")
    with pytest.raises(UsageError, match="terminal"):
        check_saving("parquet", "-")


def test_without_pyarrow_parquet_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, [make_profile()], "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    install = "Parquet needs pyarrow: pip install 'initscope\\[parquet\\]'$"
    for attempt in (
        lambda: check_saving("parquet", tmp_path / "out"),
        lambda: encode([make_profile()], "parquet"),
        lambda: load(path),
    ):
        with pytest.raises(UsageError, match=install):
            attempt()
    check_saving("json", tmp_path / "out")


@every_format
def test_what_strict_json_cannot_hold_is_not_saved(name: str) -> None:
    profile = replace(make_profile(), config=GPTConfig(n_layer=3, norm_eps=math.inf))
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode([profile], name)
