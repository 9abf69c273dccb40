"""The benchmark's children, watched while they run, and the table and JSON made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import __main__ as benchmark
from benchmarks.case import CELLS, Cell, cell_argument
from benchmarks.child import ABSENT, FAILED, OK, TOO_LARGE, TOO_SLOW, Limits, Outcome, run
from benchmarks.contestants import CONTESTANTS
from benchmarks.found import KINDS
from benchmarks.standings import letters, ratio, seconds, summary

TINY = Cell(2, 32, 12)


# --- children ---


def test_a_child_that_needs_more_memory_is_ended() -> None:
    outcome = run(["bare", "--cell", "8x1024x64"], Limits(memory=200 << 20))
    assert outcome.status == TOO_LARGE
    assert "GiB" in outcome.detail


def test_a_child_that_takes_longer_is_ended() -> None:
    assert run(["bare", "--cell", "96x512x512"], Limits(seconds=0.5)).status == TOO_SLOW


def test_a_child_that_fails_says_why() -> None:
    outcome = run(["bare", "--cell", str(TINY), "--device", "nowhere"])
    assert outcome.status == FAILED
    assert "nowhere" in outcome.detail


def test_what_is_not_installed_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = CONTESTANTS["mup"]._replace(package="no_such_package")
    monkeypatch.setitem(CONTESTANTS, "mup", absent)
    benchmark.main(["--cell", str(TINY), "--contestant", "mup", "--rounds", "1", "--json"])
    (cell,) = json.loads(capsys.readouterr().out)["cells"]
    assert cell["contestants"]["mup"]["status"] == ABSENT


def test_the_table_and_the_json_tell_time_memory_and_what_was_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {
        "bare": Outcome(OK, _found(2.0, 1.0, 2 << 30)),
        "hooks": Outcome(TOO_LARGE, {"bytes": 3 << 30}, "ended at 3.0 GiB"),
        "resident": Outcome(OK, _found(2.2, 1.0, 3 << 30)),
    }
    monkeypatch.setattr(benchmark, "one", lambda _args, _cell, name: answers[name])
    chosen = [word for name in answers for word in ("--contestant", name)]
    benchmark.main(["--cell", "3x32x8", "--rounds", "2", *chosen])
    shown = capsys.readouterr().out
    assert "does not fit" in shown
    assert "ended at 3.0 GiB" in shown
    (row,) = [line for line in shown.splitlines() if "initscope, resident" in line]
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells[1:] == [
        "2.20",
        "1.10",
        "–",
        "1.20",
        "1.20",
        "3.00",
        "1.50",
        "–",
        "7",
        "a – – – – –",
    ]


def _found(taken: float, built: float, peak: int) -> dict[str, Any]:
    return {"seconds": taken, "built": built, "bytes": peak, "readings": 7, "threads": 1,
            "records": ["activation"]}  # fmt: skip


def test_a_ratio_is_taken_within_each_round() -> None:
    rounds = [
        {"bare": Outcome(OK, {"seconds": bare}), "mup": Outcome(OK, {"seconds": mup})}
        for bare, mup in ((1.0, 2.0), (10.0, 30.0), (2.0, 8.0))
    ]
    assert ratio(rounds, "mup", "bare", seconds) == 3.0


def test_one_failure_of_a_round_is_the_contestants() -> None:
    rounds = [{"mup": Outcome(OK, _found(1, 0, 1))}, {"mup": Outcome(FAILED, {}, "why")}]
    assert summary(rounds)["mup"]["detail"] == "why"


# --- cells and letters ---


def test_cells_read_as_they_are_written() -> None:
    assert [cell_argument(str(cell)) for cell in CELLS] == list(CELLS)


@pytest.mark.parametrize("text", ["48x768", "axbxc", "0x1x2"])
def test_another_cell_is_refused_with_an_example(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        benchmark.main(["--cell", text])
    assert refused.value.code == 2
    assert "such as 48x768x256" in capsys.readouterr().err


def test_every_kind_has_a_letter() -> None:
    assert letters(KINDS) == "a r g w W v"
