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
from initscope.plan import WORKING, Plan, block_bytes, output_bytes, remembered_layers
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
    monkeypatch.setattr(plans, "OUTPUT_BYTES", 0)  # what may be kept besides has a test of its own
    shallow, deep = (peak(plan(n_layer=depth), tokens, monkeypatch) for depth in (4, 20))
    boundary = 16 * SMALL["n_embd"] * 4
    readings = 16 * 2500 * 4  # the raw reductions, a few bytes each, and their copies
    block = sum(p.numel() for p in build(plan(n_layer=1).config).blocks.parameters()) * 4
    # What a crew has not come to yet is a matter of chance, of two blocks at most.
    waiting = 0 if cores == 1 else 4 * block
    assert 16 * boundary - waiting <= deep - shallow <= 16 * boundary + readings + waiting
    assert readings + waiting < 16 * block / 2, "a kept block a layer would go unnoticed"


def test_kept_outputs_take_no_more_than_the_working_blocks(
    monkeypatch: pytest.MonkeyPatch, on_cores: Callable[[int], None]
) -> None:
    on_cores(1)
    config, tokens = plan(n_layer=40).config, 16
    count = remembered_layers(config, 4, tokens)
    kept = count * output_bytes(config, 4, tokens)
    assert 0 < count < config.n_layer
    assert kept <= WORKING * block_bytes(config, 4)
    batch = ids(batch=1, length=tokens + 1)
    with_them = peak(plan(n_layer=40), batch, monkeypatch)
    monkeypatch.setattr(plans, "OUTPUT_BYTES", 0)
    assert kept / 2 < with_them - peak(plan(n_layer=40), batch, monkeypatch) <= kept


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize("depth", [4, 20])
def test_each_layer_is_drawn_twice_and_no_more(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Counter[tuple[int, str, int]] = Counter()
    seed_of = draws.generator_seed

    def counting(seed: int, layer: int, path: str, chunk: int) -> int:
        drawn[layer, path, chunk] += 1
        return seed_of(seed, layer, path, chunk)

    monkeypatch.setattr(draws, "generator_seed", counting)
    measure(plan(n_layer=depth), ids(), 0)
    assert {layer for layer, _, _ in drawn} == set(range(-1, depth))
    for (layer, _, _), count in drawn.items():
        assert count == (1 if layer == -1 else 2), layer


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
