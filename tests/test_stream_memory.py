"""What the streamed engine spares: holding the model, drawing again, waiting for the device."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from initscope import draws
from initscope import plan as plans
from initscope.construction import build
from initscope.crew import Task
from initscope.plan import Plan, block_bytes, kept, needed_bytes, output_bytes
from initscope.profile import Reading
from initscope.recorder import Recorder
from initscope.stream import measure
from live_bytes import LiveBytes
from small import SMALL, ids, plan


class Beside(LiveBytes):
    """Counts for another mode, in a thread of the crew: modes belong to their thread."""

    def __init__(self, main: LiveBytes) -> None:
        super().__init__()
        self.count = main.count  # type: ignore[method-assign]


@pytest.fixture(params=[1, 2], ids=["alone", "with a crew"])
def cores(request: pytest.FixtureRequest, on_cores: Callable[[int], None]) -> int:
    """Compute on this many cores."""
    on_cores(request.param)
    return int(request.param)


# Slices of it hold whole rows of 48, so that no chunk lies in two of them.
SMALL_CHUNK = 256


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut what is drawn into chunks small enough that a table has several slices."""
    monkeypatch.setitem(draws.CHUNK, "cpu", SMALL_CHUNK)


def peak(this: Plan, tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> int:
    measure(this, tokens, 0)  # tables of normals are made once
    mode, run, here = LiveBytes(), Task.run, threading.current_thread()

    def counted(self: Task[Any]) -> None:
        with nullcontext() if threading.current_thread() is here else Beside(mode):
            run(self)

    with monkeypatch.context() as patch, mode:
        patch.setattr(Task, "run", counted)
        measure(this, tokens, 0)
    return mode.peak


def test_only_boundary_activations_grow_with_depth(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = ids(batch=1, length=17)
    two = 2 * output_bytes(plan().config, 4, 16)
    monkeypatch.setattr(plans, "OUTPUT_BYTES", two)  # what is kept besides is used up by depth 4
    shallow, deep = (peak(plan(n_layer=depth), tokens, monkeypatch) for depth in (4, 20))
    boundary = 16 * SMALL["n_embd"] * 4
    readings = 16 * 2500 * 4  # the raw reductions, a few bytes each, and their copies
    block = sum(p.numel() for p in build(plan(n_layer=1).config).blocks.parameters()) * 4
    # What a crew has not come to yet is a matter of chance, of two blocks at most.
    waiting = 0 if cores == 1 else 4 * block
    assert 16 * boundary - waiting <= deep - shallow <= 16 * boundary + readings + waiting
    assert readings + waiting < 16 * block / 2, "a kept block a layer would go unnoticed"


def test_kept_outputs_take_no_more_than_their_budget(
    monkeypatch: pytest.MonkeyPatch, on_cores: Callable[[int], None]
) -> None:
    on_cores(1)
    each, batch = output_bytes(plan().config, 4, 16), ids(batch=1, length=17)
    peaks = {}
    for layers in (0, 9):
        monkeypatch.setattr(plans, "OUTPUT_BYTES", layers * each + each // 2)
        assert kept(plan(n_layer=40).config, 4, 16).outputs == layers
        peaks[layers] = peak(plan(n_layer=40), batch, monkeypatch)
    assert 9 * each / 2 < peaks[9] - peaks[0] <= 9 * each


def test_memory_that_is_given_goes_to_outputs_first(monkeypatch: pytest.MonkeyPatch) -> None:
    config = plan(n_layer=10).config
    each, block = output_bytes(config, 4, 16), block_bytes(config, 4)
    monkeypatch.setattr(plans, "OUTPUT_BYTES", 2 * each)
    assert kept(config, 4, 16, 3 * each) == (5, 0)
    assert kept(config, 4, 16, 8 * each + 3 * block) == (10, 3)
    monkeypatch.setattr(plans, "OUTPUT_BYTES", 20 * each)
    assert kept(config, 4, 16, 3 * block) == (10, 3)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("tied", [True, False])
def test_a_table_of_tokens_is_never_whole(
    tied: bool, monkeypatch: pytest.MonkeyPatch, on_cores: Callable[[int], None]
) -> None:
    on_cores(1)
    peaks = [
        peak(plan(n_layer=1, vocab_size=rows, tied=tied), ids(length=9), monkeypatch)
        for rows in (4000, 8000)
    ]
    # The logits are kept for the gradient, and each slice leaves some raw reductions.
    logits, table = 4000 * 16 * 4, 4000 * SMALL["n_embd"] * 4
    assert peaks[1] - peaks[0] < logits + table / 4


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("rule", ["nanogpt", "orthogonal"])
@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize(
    "fields", [{"n_layer": 20}, {"vocab_size": 8000, "tied": False}, {"block_size": 8192}]
)
def test_the_estimate_is_near_what_is_taken(
    rule: str, backward: bool, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    on_cores: Callable[[int], None],
) -> None:  # fmt: skip
    """Within a half and twice the peak of live bytes: the estimate knows no single operation."""
    on_cores(1)
    monkeypatch.setattr(plans, "WORKING_BYTES", 0)
    this, tokens = plan(rule, **fields, backward=backward), ids(length=17)
    needed = needed_bytes(
        this.config, this.rule, this.allocation, 32, keep_bytes=0, backward=backward
    )
    taken = peak(this, tokens, monkeypatch)
    assert taken / 2 < needed < 2 * taken


def count_draws(this: Plan, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, str, int]]:
    """Count how often each chunk is drawn."""
    drawn: Counter[tuple[int, str, int]] = Counter()
    seed_of = draws.generator_seed

    def counting(seed: int, layer: int, path: str, chunk: int) -> int:
        drawn[layer, path, chunk] += 1
        return seed_of(seed, layer, path, chunk)

    monkeypatch.setattr(draws, "generator_seed", counting)
    measure(this, ids(), 0)
    return drawn


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize("depth", [4, 20])
def test_each_layer_is_drawn_twice_and_no_more(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = count_draws(plan(n_layer=depth), monkeypatch)
    assert {layer for layer, _, _ in drawn} == set(range(-1, depth))
    for (layer, _, _), count in drawn.items():
        assert count == (1 if layer == -1 else 2), layer


@pytest.mark.usefixtures("cores", "small_chunks")
def test_a_table_of_several_slices_is_drawn_each_time_that_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = -(-97 * 48 // SMALL_CHUNK)
    tied = count_draws(plan(), monkeypatch)
    assert [tied[-1, "wte.weight", chunk] for chunk in range(whole)] == [3] * whole
    untied = count_draws(plan(tied=False), monkeypatch)
    assert [untied[-1, "wte.weight", chunk] for chunk in range(whole)] == [1] * whole
    assert [untied[3, "head.weight", chunk] for chunk in range(whole)] == [2] * whole


def test_no_host_sync_before_the_read_out(monkeypatch: pytest.MonkeyPatch) -> None:
    mode, seen = LiveBytes(), []
    readings = Recorder.readings

    def noting(self: Recorder) -> list[Reading]:
        seen.append(mode.syncs)
        return readings(self)

    monkeypatch.setattr(Recorder, "readings", noting)
    with mode:
        measure(plan(), ids(), 0)
    assert seen == [0]
