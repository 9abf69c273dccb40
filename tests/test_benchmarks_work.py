"""Scaling, lower bounds, numbers of rules, and what is carried on beyond what was run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks import draws, large, roof, rules, scaling, worker
from benchmarks.case import Case, Cell
from benchmarks.child import OK, Limits, Outcome
from benchmarks.fitting import exponent, line
from benchmarks.rates import Rates, rates
from benchmarks.work import Work, once, streamed
from initscope import plan

VOCABULARY = 61


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what a child would in this process: what they start with is tested elsewhere."""

    def run(arguments: Sequence[str], _limits: Limits) -> Outcome:
        args = worker.parsed([*arguments, "--cold"])
        args.vocab_size = min(args.vocab_size, VOCABULARY)
        return Outcome(OK, json.loads(json.dumps(worker.measure(args))))

    for module in (large, roof, rules, scaling):
        monkeypatch.setattr(module, "run", run)


def test_an_exponent_is_found_with_its_error() -> None:
    x = [2.0, 4.0, 8.0, 16.0, 32.0]
    exact = exponent(x, [3 * v**1.5 for v in x])
    assert exact.value == pytest.approx(1.5)
    assert exact.error == pytest.approx(0, abs=1e-12)
    off = exponent(x, [v * f for v, f in zip(x, (1.1, 0.9, 1.1, 0.9, 1.1), strict=True)])
    assert off.error > 0.01


def test_the_line_of_a_start_and_a_step_is_found() -> None:
    found = line([1, 2, 3], [5.0, 7.0, 9.0])
    assert found.start == pytest.approx(3)
    assert found.at(96) == pytest.approx(195)


def test_work_is_that_of_a_model_counted_by_hand() -> None:
    config, tokens = Cell(1, 8, 100).config(vocab_size=16), 100
    block, ends = 12 * 8 * 8 + 16, 16 * 8 + 1024 * 8 + 8
    work = once(config, tokens)
    assert work.drawn == 4 * (block + ends)
    products = 2 * 2 * tokens * 12 * 64 + 3 * 2 * tokens**2 * 8
    norms = 2 * tokens * 12 * 64  # this narrow, GᵀX is the cheaper order
    head = 3 * 2 * tokens * 8 * 16
    assert work.flops == products + norms + head


def test_one_block_at_a_time_is_drawn_again_and_run_again_but_for_the_last_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = Cell(4, 64, 16).config(vocab_size=32)
    least, again = once(config, 16), streamed(config, 16)
    block, attention = 12 * 64 * 64 + 2 * 64, 4 * 2 * 16**2 * 64
    assert again.drawn - least.drawn == 4 * 3 * block
    assert again.flops - least.flops == attention  # all outputs of this little are kept
    monkeypatch.setattr(plan, "OUTPUT_BYTES", 0)
    assert streamed(config, 16).flops - least.flops == attention + 4 * 2 * 16 * 8 * 64**2


def test_a_bound_adds_drawing_and_products() -> None:
    assert Work(drawn=8.0, flops=30.0).seconds(Rates(drawn=4.0, flops=10.0)) == 5.0


def test_generators_are_timed_beside_each_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "CHUNKS", 1)
    draws.main(["--rounds", "1"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in draws.GENERATORS)
    assert "1.00" in shown


def test_rates_are_measured() -> None:
    found = rates(Case.make(Cell(1, 64, 64), VOCABULARY))
    assert found.drawn > 0
    assert found.flops > 0


@pytest.mark.usefixtures("in_process")
def test_scaling_fits_both_axes(capsys: pytest.CaptureFixture[str]) -> None:
    shape = ["--n-embd", "32", "--tokens", "16", "--vocab-size", "61", "--rounds", "1"]
    scaling.main(["--depths", "1", "2", "4", "--lengths", *shape])
    shown = capsys.readouterr().out
    assert "exponent" in shown
    assert "MiB each" in shown


@pytest.mark.usefixtures("in_process")
def test_the_roof_is_measured_in_the_same_process(capsys: pytest.CaptureFixture[str]) -> None:
    roof.main(["--cell", "1x64x32", "--rounds", "1", "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    least, block = row["bounds"]["least"], row["bounds"]["one block"]
    assert 0 < least["seconds"] <= block["seconds"]
    assert block["fraction"] == pytest.approx(block["seconds"] / row["seconds"])


@pytest.mark.usefixtures("in_process")
def test_rules_are_compared_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    rules.main(["--cell", "2x32x12", "--counts", "1", "8", "--rounds", "1", "--json"])
    one, eight = json.loads(capsys.readouterr().out)
    assert one["ratio"] == 1
    assert eight["status"] == OK


@pytest.mark.usefixtures("in_process")
def test_a_large_model_is_told_from_a_few_layers(capsys: pytest.CaptureFixture[str]) -> None:
    shape = ["--n-embd", "64", "--n-layer", "9", "--tokens", "16", "--layers", "1", "2", "3"]
    large.main([*shape, "--forward-only", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [row["layers"] for row in found] == [1, 2, 3, 9]
    assert [row["status"] for row in found] == [OK, OK, OK, large.MARK]


def test_what_was_not_run_is_marked() -> None:
    known = [{"layers": n, "status": OK, "seconds": 2.0 + n, "bytes": 100 * n} for n in (1, 2, 3)]
    (whole,) = large.extrapolated(known, 96)
    assert whole["status"] == "extrapolated"
    assert whole["seconds"] == pytest.approx(98)
    assert large.extrapolated(known[:1], 96) == []
    assert large.extrapolated(known, 3) == []
    assert "extrapolated" in _rendered(large.table([*known, whole], ""))


def _rendered(table: Any) -> str:
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
