"""Collecting raw reductions on the device, beside the caller's work where there is a crew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from threading import Lock
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from initscope.crew import ALONE, Crew, Task
from initscope.moments import Scaled, central, pieces, scaled
from initscope.profile import Reading
from initscope.readout import Key, Parts, Raw, finalise, put_together

T = TypeVar("T")

BUFFER = 1 << 14  # float32 values a buffer


class Recorder:
    """Collects raw reductions without looking at them; :meth:`readings` does, once.

    Args:
        crew: who does what is recorded :meth:`beside` the caller's work.
        listens: whether anything is reduced at all; a benchmark of the passes alone says no.
    """

    def __init__(self, crew: Crew = ALONE, *, listens: bool = True) -> None:
        self.crew, self.listens = crew, listens
        self._entries: list[_Entry | Recorder] = []
        self._buffers = _Buffers()

    def add(self, key: Key, raw: Tensor, count: int = 1) -> None:
        """Keep a raw tensor; ``count`` is the number of entries that it was reduced from."""
        if self.listens:
            self._entries.append(_Entry(key, count, *self._buffers.keep(raw)))

    def has(self, key: Key) -> bool:
        """Whether anything was kept under a key."""
        return any(entry.key == key for entry in self._recorded())

    def add_moments(self, key: Key, x: Tensor, order: int = 4) -> None:
        """Keep the moments of all entries of a tensor, reduced piece by piece."""
        for piece in pieces(x) if self.listens else ():
            self.add(key, central(scaled(piece), order), piece.numel())

    def add_scaled(self, key: Key, x: Scaled, order: int = 4) -> None:
        """Keep the moments of a tensor that has been scaled already, piece by piece."""
        for piece in pieces(x.values):
            self.add(key, central(Scaled(piece, x.scale), order), piece.numel())

    def beside(self, record: Callable[[Recorder], T]) -> Task[T]:
        """Have ``record`` called with a recorder whose entries come here, in this place.

        The tensors that it reduces must not change before the crew has settled.
        """
        part = Recorder(listens=self.listens)
        part._buffers = self._buffers
        self._entries.append(part)
        return self.crew.submit(partial(record, part))

    def _recorded(self) -> Iterator[_Entry]:
        for entry in self._entries:
            if isinstance(entry, Recorder):
                yield from entry._recorded()  # noqa: SLF001 - a part of this one
            else:
                yield entry

    def readings(self, pool: Callable[[Parts], Parts] = lambda parts: parts) -> list[Reading]:
        """Copy everything to the host at once and finalise it, in the order recorded.

        ``pool`` puts the parts together with those of other processes.
        """
        self.crew.settle()
        flat = self._buffers.on_host()
        grouped: dict[Key, list[tuple[int, Raw]]] = defaultdict(list)
        for key, entries, start, size in self._recorded():
            grouped[key].append((entries, flat[start : start + size]))
        return finalise(pool(put_together(grouped)))


class _Entry(NamedTuple):
    """A raw reduction: where it belongs, of how many entries it is, and its place."""

    key: Key
    entries: int
    start: int
    size: int


class _Buffers:
    """A few long buffers on the device.

    Thousands of tiny tensors, each alive until the end, would pin the memory of the large ones
    freed between them.
    """

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []
        self._used = BUFFER
        self._lock = Lock()

    def keep(self, raw: Tensor) -> tuple[int, int]:
        """Copy a raw tensor; return its place and size."""
        size = raw.numel()
        with self._lock:
            if self._used + size > BUFFER:
                self._buffers.append(torch.zeros(BUFFER, device=raw.device))
                self._used = 0
            there = self._buffers[-1][self._used : self._used + size]
            start = (len(self._buffers) - 1) * BUFFER + self._used
            self._used += size
        there.copy_(raw.reshape(-1))
        return start, size

    def on_host(self) -> Raw:
        """Copy all of them to the host, in float64."""
        if not self._buffers:
            return np.empty(0)
        return torch.cat(self._buffers).cpu().double().numpy()
