"""Filling tensors from draws: threaded, and the same for any number of threads.

Every parameter is made from standard normals z that depend on (seed, layer, path) alone, so
two rules, or two depths, meet the same z: a difference between them is the rule's. A uniform
and a truncated normal are monotone functions of z.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from initscope import normals
from initscope.crew import ALONE, Crew, hired
from initscope.moments import central, pieces, powers, scaled
from initscope.rules.core import Draw

# A chunk has a generator of its own, so its size is part of the result: do not change it
# lightly. On the CPU it is a job of a millisecond.
CHUNK = {"cpu": 1 << 19}
DEVICE_CHUNK = 1 << 24

SQRT2 = math.sqrt(2)


Part = tuple[int, Tensor]  # number of entries, raw moments
Drawn = dict[str, list[Part]]  # by path


class Filling(NamedTuple):
    """One parameter to fill: where it is in the model and how it is drawn.

    ``tensor`` may be a part of it, from the chunk ``first`` on.
    """

    tensor: Tensor
    draw: Draw
    layer: int
    path: str
    first: int = 0


def generator_seed(seed: int, layer: int, path: str, chunk: int) -> int:
    """Hash what identifies a chunk of numbers into a 64-bit seed, the same on every machine."""
    text = f"{seed}/{layer}/{path}/{chunk}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def _uniform(z: Tensor, draw: Draw) -> Tensor:
    return z.div_(SQRT2).erf_().mul_(draw.scale)


def _truncated(z: Tensor, draw: Draw) -> Tensor:
    inside = math.erf(draw.cut / SQRT2)
    x = z.div_(SQRT2).erf_().mul_(inside).erfinv_()
    return x.mul_(SQRT2 * draw.scale).clamp_(-draw.bound, draw.bound)


def _orthogonal(z: Tensor, draw: Draw) -> Tensor:
    """Return scale times the Haar-distributed factor of a Gaussian matrix (Mezzadri 2007)."""
    tall = z if z.shape[0] >= z.shape[1] else z.T
    q, r = torch.linalg.qr(tall)
    q *= r.diagonal().sign()
    return draw.scale * (q if tall is z else q.T)


_TRANSFORM: dict[str, Callable[[Tensor, Draw], Tensor]] = {
    "normal": lambda x, _draw: x,  # drawn with its std at once
    "uniform": _uniform,
    "truncated_normal": _truncated,
    "orthogonal": _orthogonal,
}
_WHOLE = frozenset({"orthogonal"})  # kinds that one job draws


def divisible(draw: Draw) -> bool:
    """Say whether a part of a parameter can be drawn by itself."""
    return draw.kind not in _WHOLE


def chunk_size(device: torch.device) -> int:
    """Return how many entries have a generator of their own."""
    return CHUNK.get(device.type, DEVICE_CHUNK)


def reduced(entries: Tensor, draw: Draw) -> list[Part]:
    """Reduce what was drawn to raw moments, piece by piece."""
    return [(len(piece), _reduced(piece, draw)) for piece in pieces(entries)]


class Drawer:
    """Fills parameters for one seed.

    Who draws, a ``crew`` or as many ``threads``, changes the time, never a number.
    """

    def __init__(self, seed: int, crew: Crew = ALONE, threads: int | None = None) -> None:
        self.seed, self._crew, self._threads = seed, crew, threads

    def fill(self, fillings: Iterable[Filling], *, statistics: bool = False) -> Drawn:
        """Fill the tensors in place.

        Returns, where ``statistics`` are asked for, each path's parts as (count, raw moments).
        """
        fillings = list(fillings)
        with self._gathered(fillings) as crew:
            return self._begin(fillings, crew, statistics=statistics)()

    def begin(
        self, fillings: Iterable[Filling], *, statistics: bool = False
    ) -> Callable[[], Drawn]:
        """Have the crew begin to fill the tensors; return what waits for it, as :meth:`fill`.

        Without a crew that works beside the caller, all is filled at once.
        """
        if self._crew:
            return self._begin(fillings, self._crew, statistics=statistics)
        drawn = self.fill(fillings, statistics=statistics)
        return lambda: drawn

    def _begin(
        self, fillings: Iterable[Filling], crew: Crew, *, statistics: bool
    ) -> Callable[[], Drawn]:
        tasks = [
            (filling.path, [crew.submit(job) for job in self._jobs(filling, statistics=statistics)])
            for filling in fillings
        ]

        def finish() -> Drawn:
            crew.wait([job for _, jobs in tasks for job in jobs])
            return {path: [part for job in jobs for part in job.result()] for path, jobs in tasks}

        return finish

    def _gathered(self, fillings: Sequence[Filling]) -> AbstractContextManager[Crew]:
        """Return those who draw: the given crew, or threads where there are several cores."""
        if self._crew:
            return nullcontext(self._crew)
        on_cpu = all(filling.tensor.device.type == "cpu" for filling in fillings)
        cores = torch.get_num_threads()
        # Not alone on one thread of several: the sums of a piece go by the cores of its thread.
        return hired(self._threads or cores) if on_cpu and cores > 1 else nullcontext(ALONE)

    def _jobs(self, filling: Filling, *, statistics: bool) -> Iterator[Callable[[], list[Part]]]:
        """Cut a parameter into jobs, each of which returns the moments of what it drew."""
        flat = filling.tensor.view(-1)
        spans = _chunks(flat) if divisible(filling.draw) else (flat,)
        for first, span in enumerate(spans, start=filling.first):
            yield partial(self._draw, filling, span, first, statistics=statistics)

    def _draw(self, filling: Filling, span: Tensor, first: int, *, statistics: bool) -> list[Part]:
        """Fill a chunk, or from the ``first`` on all that a job draws; return the moments."""
        draw = filling.draw
        if draw.kind == "constant":
            span.fill_(draw.scale)
        else:
            z = span if span.dtype == torch.float32 else torch.empty_like(span, dtype=torch.float32)
            std = draw.scale if draw.kind == "normal" else 1.0
            for number, chunk in enumerate(_chunks(z), start=first):
                seed = generator_seed(self.seed, filling.layer, filling.path, number)
                normals.fill(chunk, std, seed)
            shape = z.shape if divisible(draw) else filling.tensor.shape
            x = _TRANSFORM[draw.kind](z.view(shape), draw).reshape(-1)
            if x.data_ptr() != span.data_ptr():
                span.copy_(x)
        return reduced(span, draw) if statistics else []


def _reduced(piece: Tensor, draw: Draw) -> Tensor:
    """Reduce to raw moments: about 0 where that is what the entries are drawn about."""
    if draw.mean == 0 and draw.std > 0:
        return powers(piece, draw.std)
    return central(scaled(piece))


def _chunks(flat: Tensor) -> tuple[Tensor, ...]:
    return flat.split(chunk_size(flat.device))
