"""What the streamed engine spares: holding the model, drawing again, waiting for the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from initscope.construction import build
from initscope.draws import Drawer, Filling
from initscope.plan import Plan
from initscope.profile import Reading
from initscope.readout import Recorder
from initscope.stream import measure
from live_bytes import LiveBytes
from small import SMALL, ids, plan


def peak(this: Plan, tokens: torch.Tensor) -> int:
    with LiveBytes() as mode:
        measure(this, tokens, 0)
    return mode.peak


def test_only_boundary_activations_grow_with_depth() -> None:
    tokens = ids(batch=1, length=17)
    shallow, deep = (peak(plan(n_layer=depth), tokens) for depth in (4, 20))
    boundary = 16 * SMALL["n_embd"] * 4
    readings = 16 * 2500 * 4  # the raw reductions, a few bytes each, and their copies
    block = sum(p.numel() for p in build(plan(n_layer=1).config).blocks.parameters()) * 4
    grown = deep - shallow
    assert 16 * boundary <= grown <= 16 * boundary + readings
    assert readings < 16 * block / 5, "a kept block a layer would go unnoticed"


@pytest.mark.parametrize("depth", [4, 20])
def test_each_layer_is_drawn_twice_and_no_more(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    fill = Drawer.fill

    def counting(self: Drawer, fillings: Iterable[Filling], **options: bool) -> Any:
        fillings = list(fillings)
        counts.append(len(fillings))
        return fill(self, fillings, **options)

    monkeypatch.setattr(Drawer, "fill", counting)
    measure(plan(n_layer=depth), ids(), 0)
    per_block, ends = 8, 3  # 6 matrices and 2 gains; wte, wpe and the final gain
    # The last block is still there when backward begins.
    assert sum(counts) == ends + per_block * (2 * depth - 1)


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
