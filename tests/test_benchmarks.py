"""Each contestant of the benchmark runs, says what it records, and agrees with initscope."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from benchmarks.case import Case, Cell
from benchmarks.child import OK, run
from benchmarks.contestants import CONTESTANTS
from benchmarks.found import Readings, recorded
from benchmarks.standings import letters
from initscope import build
from initscope.gpt import GPT

TINY = Cell(2, 32, 12)
VOCABULARY = 61

# What each tool says that it records, found in the readings of a run.
RECORDS = {
    "bare": "– – – – – –", "streamed": "a r g w W v", "unmeasured": "– – – – – –",
    "resident": "a r g w W v", "hooks": "a r g w W –", "careful": "a r g – – –",
    "huggingface": "a r – w – –", "mup": "a r – – – –", "monitor": "a r – w W –",
    "unit-scaling": "a r g w W –", "torchlens": "a r g – – –", "nndiagnostics": "a r g w W –",
}  # fmt: skip
# These two patch PyTorch itself, or compile: they run in processes of their own.
APART = ("unit-scaling", "torchlens")


@pytest.fixture(autouse=True)
def same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(case: Case) -> GPT:
        return build(case.config, "nanogpt", seed=0)

    monkeypatch.setattr("benchmarks.own.build", drawn)


@pytest.fixture(scope="module")
def expected() -> Readings:
    return CONTESTANTS["streamed"].run(Case.make(TINY, VOCABULARY)).readings


def take(name: str) -> Readings:
    contestant = CONTESTANTS[name]
    if contestant.package:
        pytest.importorskip(contestant.package)
    torch.manual_seed(0)
    return contestant.run(Case.make(TINY, VOCABULARY)).readings


# --- contestants ---


@pytest.mark.parametrize("name", [name for name in CONTESTANTS if name not in APART])
def test_a_contestant_records_what_the_table_says(name: str) -> None:
    readings = take(name)
    assert letters(recorded(readings)) == RECORDS[name]
    assert all(math.isfinite(value) for key, value in readings.items() if key[1] != "weight")


@pytest.mark.parametrize("name", APART)
def test_one_that_changes_pytorch_runs_apart(name: str) -> None:
    pytest.importorskip(CONTESTANTS[name].package)
    outcome = run([name, "--cell", str(TINY), "--vocab-size", str(VOCABULARY), "--cold"])
    assert outcome.status == OK, outcome.detail
    assert letters(outcome.found["records"]) == RECORDS[name]


SITES = [f"blocks.{layer}.{site}" for layer in (0, 1) for site in
         ("norm_1", "q", "v", "attn", "attn_out", "mlp_up", "mlp_act", "mlp_down")]  # fmt: skip


def compare(found: Readings, expected: Readings, kind: str, statistic: str, rel: float) -> None:
    """Compare one statistic at every site."""
    for site in SITES:
        key = (site, kind, statistic)
        assert found[key] == pytest.approx(expected[key], rel=rel), site


def test_careful_hooks_agree(expected: Readings) -> None:
    found = take("careful")
    for kind in ("activation", "gradient"):
        compare(found, expected, kind, "second_moment", 1e-5)


def test_hand_written_hooks_agree_up_to_the_sample_form(expected: Readings) -> None:
    found = take("hooks")
    entries = {"mlp_up": 4, "mlp_act": 4}
    for kind in ("activation", "gradient"):
        for site in SITES:
            n = TINY.tokens * TINY.n_embd * entries.get(site.split(".")[-1], 1)
            population = found[site, kind, "variance"] * (n - 1) / n
            assert population == pytest.approx(expected[site, kind, "variance"], rel=1e-4), site


def test_the_coordinate_check_of_mup_agrees(expected: Readings) -> None:
    found = {(*key[:2], "second_moment"): value**2 for key, value in take("mup").items()
             if key[2] == "l2"}  # fmt: skip
    compare(found, expected, "activation", "second_moment", 1e-5)
    stream = found["blocks.1", "residual", "second_moment"]
    assert stream == pytest.approx(expected["blocks.1.resid_post", "residual", "second_moment"])


def test_debug_underflow_overflow_agrees_to_its_three_digits(expected: Readings) -> None:
    compare(take("huggingface"), expected, "activation", "max_abs", 5.1e-3)


def test_torch_module_monitor_agrees(expected: Readings) -> None:
    found = {(*key[:2], "variance"): value**2 for key, value in take("monitor").items()}
    compare(found, expected, "activation", "variance", 5e-3)  # its variance is a sample's


def test_nndiagnostics_agrees(expected: Readings) -> None:
    found = take("nndiagnostics")
    for kind in ("activation", "gradient"):
        compare(found, expected, kind, "second_moment", 1e-4)


def test_the_resident_engine_agrees(expected: Readings) -> None:
    found = take("resident")
    for kind in ("activation", "gradient"):
        compare(found, expected, kind, "second_moment", 1e-5)


def test_without_statistics_the_model_is_drawn_and_run_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[bool] = []
    fill = "initscope.draws.Drawer.fill"

    def counted(
        _drawer: object, fillings: list[Any], *, statistics: bool = False
    ) -> dict[str, Any]:
        drawn.append(statistics)
        for one in fillings:
            one.tensor.fill_(0.01)
        return {one.path: [] for one in fillings}

    monkeypatch.setattr(fill, counted)
    CONTESTANTS["unmeasured"].run(Case.make(TINY, VOCABULARY))
    assert drawn
    assert not any(drawn)
