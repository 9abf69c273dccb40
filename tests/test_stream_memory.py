"""What the streamed engine spares: holding the model, drawing again, waiting for the device."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from initscope.construction import build
from initscope.draws import Drawer, Filling
from initscope.plan import Plan
from initscope.profile import Reading
from initscope.readout import Recorder
from initscope.stream import measure
from small import SMALL, ids, plan

SYNCS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of live storages that operations make, their peak, and host syncs."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.syncs = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.syncs += func in SYNCS
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        identity, size = storage._cdata, storage.nbytes()
        if identity in self._known:
            return
        self._known.add(identity)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, identity, size)

    def _release(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self.live -= size


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
