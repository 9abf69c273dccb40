"""Spread over two processes, a model has the profile that one process measures of the whole."""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import initscope
from resident_readings import Values, assert_same
from side_by_side import NEEDS_GLOO, launch
from users_gpt import users_gpt
from whole_models import batch, gpt

pytestmark = NEEDS_GLOO

Found = list[dict[str, Any]]


def _forward() -> initscope.Profile:
    return initscope.inspect(users_gpt(), batch(), initscope.Options(forward_only=True))


# What each case is when one process measures it.
WHOLE: dict[str, Callable[[], initscope.Profile]] = {
    "ddp": lambda: initscope.inspect(users_gpt(), batch()),
    "ddp-unequal": lambda: initscope.inspect(users_gpt(), batch()),
    "fsdp": lambda: initscope.inspect(gpt(), batch()),
    "fsdp-unequal": lambda: initscope.inspect(gpt(bias=True, tied=True), batch()),
    "fsdp-forward": _forward,
    "fsdp-made": lambda: initscope.inspect(gpt(), None, initscope.Options(batch=4, seq_len=16)),
    "tp": lambda: initscope.inspect(gpt(), batch()),
    "tp-sequence": lambda: initscope.inspect(gpt(), batch()),
    "tp-logits": lambda: initscope.inspect(gpt(), {"ids": batch()}),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each of the two processes measured, by case."""
    folder = tmp_path_factory.mktemp("ranks")
    for end in launch("rank_cases.py", folder):
        assert end.code == 0, end.err
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def values(table: list[list[Any]]) -> Values:
    return {(layer, site, direction, statistic): math.nan if value is None else value
            for layer, site, direction, statistic, value in table}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE)
def test_a_spread_model_reads_as_the_whole(found: Found, case: str) -> None:
    got, want = found[0][case], WHOLE[case]()
    assert "error" not in got, got.get("trace")
    columns = ["layer", "site", "direction", "statistic", "value"]
    readings, whole = values(got["table"]), values(want.table[columns].to_numpy().tolist())
    assert set(readings) == set(whole)
    assert_same(readings, whole)
    assert got["run"] == [want.run.batch, want.run.parameters, want.run.model]
    assert got["shape"] == [want.config.n_layer, want.config.n_head, want.config.d_ff]


@pytest.mark.parametrize("case", WHOLE)
def test_every_rank_has_the_same_profile(found: Found, case: str) -> None:
    first, second = (json.dumps(one[case]) for one in found)
    assert first == second


@pytest.mark.parametrize("way", ["ddp", "ddp-static", "fsdp"])
def test_training_goes_on_as_if_nothing_had_been_measured(found: Found, way: str) -> None:
    """Two steps with dropout, to the last bit."""
    assert [one["untouched"][way] for one in found] == [True, True]


def test_a_reading_of_one_rank_alone_is_kept(found: Found) -> None:
    for one in found:
        whole = {"both": [3, pytest.approx(5 / 3)], "first": [1, 5.0], "second": [2, 6.0]}
        assert one["missing"] == whole


def test_ranks_that_ask_for_different_things_are_told(found: Found) -> None:
    for one in found:
        assert one["different"]["error"].startswith("MeasurementError: the ranks measure different")


# --- failures ---


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_a_rank_that_is_killed_ends_the_other_with_an_error(tmp_path: Path, way: str) -> None:
    alive, killed = launch("rank_failures.py", tmp_path, "killed", way)
    assert killed.code == -signal.SIGKILL
    assert alive.code == 1
    assert re.search("MeasurementError: another rank has failed|remote worker", alive.err)


def test_a_rank_that_never_comes_ends_the_other_in_time(tmp_path: Path) -> None:
    (alive,) = launch("rank_failures.py", tmp_path, "asleep", "ddp", awaited=1)
    assert alive.code == 1
    assert "another rank has failed or did not answer within 0:00:03" in alive.err
