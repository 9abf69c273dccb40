"""The bytes that live tensors hold, counted operation by operation."""

from __future__ import annotations

import weakref
from threading import RLock
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

SYNCS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of live storages that operations make, their peak, and host syncs."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.syncs = 0
        self._known: set[int] = set()
        self._lock = RLock()  # a storage may be released while another is counted

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.syncs += func in SYNCS
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                self.count(tensor.untyped_storage())
        return out

    def count(self, storage: torch.UntypedStorage) -> None:
        """Count a storage once, until it is released."""
        identity, size = storage._cdata, storage.nbytes()
        with self._lock:
            if identity in self._known:
                return
            self._known.add(identity)
            self.live += size
            self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, identity, size)

    def _release(self, identity: int, size: int) -> None:
        with self._lock:
            self._known.discard(identity)
            self.live -= size
