"""Filling tensors from draws: threaded, and the same for any number of threads.

Every parameter is made from standard normals z that depend on (seed, layer, path) alone, so
two rules, or two depths, meet the same z: a difference between them is the rule's. A uniform
and a truncated normal are monotone functions of z.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from initscope.lanes import workers
from initscope.moments import central, pieces, scaled
from initscope.rules.core import Draw

# A chunk has a generator of its own, so its size is part of the result: do not change it
# lightly. On the CPU it is sized to stay in a core's cache from the draw to its statistics.
CHUNK = {"cpu": 1 << 17}
DEVICE_CHUNK = 1 << 24
SPAN = 4  # chunks a job: more calls from Python's threads would wait for each other

SQRT2 = math.sqrt(2)


class Filling(NamedTuple):
    """One parameter to fill: where it is in the model and how it is drawn."""

    tensor: Tensor
    draw: Draw
    layer: int
    path: str


def generator_seed(seed: int, layer: int, path: str, chunk: int) -> int:
    """Hash what identifies a chunk of numbers into a 64-bit seed, the same on every machine."""
    text = f"{seed}/{layer}/{path}/{chunk}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def _normal(z: Tensor, draw: Draw) -> Tensor:
    return z.mul_(draw.scale)


def _uniform(z: Tensor, draw: Draw) -> Tensor:
    return z.div_(SQRT2).erf_().mul_(draw.scale)


def _truncated(z: Tensor, draw: Draw) -> Tensor:
    inside = math.erf(draw.cut / SQRT2)
    x = z.div_(SQRT2).erf_().mul_(inside).erfinv_()
    return x.mul_(SQRT2 * draw.scale).clamp_(-draw.bound, draw.bound)


_TRANSFORM: dict[str, Callable[[Tensor, Draw], Tensor]] = {
    "normal": _normal,
    "uniform": _uniform,
    "truncated_normal": _truncated,
    "orthogonal": lambda z, _draw: z,  # the matrix is made orthogonal once it is whole
}


def _orthogonalise(z: Tensor, gain: float) -> Tensor:
    """Return gain times the Haar-distributed factor of a Gaussian matrix (Mezzadri 2007)."""
    tall = z if z.shape[0] >= z.shape[1] else z.T
    q, r = torch.linalg.qr(tall)
    q *= r.diagonal().sign()
    return gain * (q if tall is z else q.T)


class Drawer:
    """Fills parameters for one seed.

    ``threads`` changes the time, never a number.
    """

    def __init__(self, seed: int, threads: int | None = None) -> None:
        self.seed = seed
        self.threads = threads or torch.get_num_threads() or os.cpu_count() or 1

    @torch.no_grad()
    def fill(
        self, fillings: Iterable[Filling], *, statistics: bool = False
    ) -> dict[str, list[tuple[int, Tensor]]]:
        """Fill the tensors in place.

        Returns, where ``statistics`` are asked for, each path's parts as (count, raw moments).
        """
        fillings = list(fillings)
        jobs = [(filling, self._submit(filling, statistics=statistics)) for filling in fillings]
        return {
            filling.path: self._finish(filling, futures, statistics=statistics)
            for filling, futures in jobs
        }

    def _submit(self, filling: Filling, *, statistics: bool) -> list[_Job]:
        tensor, draw = filling.tensor, filling.draw
        if draw.kind == "constant":
            tensor.fill_(draw.scale)
            return []
        flat = tensor.view(-1)
        size = CHUNK.get(tensor.device.type, DEVICE_CHUNK)
        statistics = statistics and draw.kind != "orthogonal"
        return [
            self._run(filling, span, size, number * SPAN, statistics=statistics)
            for number, span in enumerate(flat.split(SPAN * size))
        ]

    def _run(
        self, filling: Filling, span: Tensor, size: int, first: int, *, statistics: bool
    ) -> _Job:
        """Draw consecutive chunks of ``size`` entries, on a worker where there are any."""
        seeds = [
            generator_seed(self.seed, filling.layer, filling.path, first + number)
            for number in range(-(-len(span) // size))
        ]
        job = partial(_draw_span, span, size, filling.draw, seeds, statistics=statistics)
        # Alone where there is one core to compute on: the sums of a chunk go by their threads.
        alone = span.device.type != "cpu" or self.threads == torch.get_num_threads() == 1
        return job() if alone else workers(self.threads).submit(job)

    def _finish(
        self, filling: Filling, jobs: list[_Job], *, statistics: bool
    ) -> list[tuple[int, Tensor]]:
        done = [job.result() if isinstance(job, Future) else job for job in jobs]
        parts = list(chain.from_iterable(done))
        if filling.draw.kind == "orthogonal":
            whole = _orthogonalise(filling.tensor.float(), filling.draw.scale)
            filling.tensor.copy_(whole)
        if not statistics:
            return []
        return parts or [_statistics(piece) for piece in pieces(filling.tensor)]


_Part = tuple[int, Tensor]
_Job = Future[list[_Part]] | list[_Part]


@torch.no_grad()
def _draw_span(
    span: Tensor, size: int, draw: Draw, seeds: Sequence[int], *, statistics: bool
) -> list[_Part]:
    for chunk, seed in zip(span.split(size), seeds, strict=True):
        generator = torch.Generator(chunk.device).manual_seed(seed)
        z = chunk if chunk.dtype == torch.float32 else torch.empty_like(chunk, dtype=torch.float32)
        x = _TRANSFORM[draw.kind](z.normal_(generator=generator), draw)
        if x is not chunk:
            chunk.copy_(x)
    return [_statistics(piece) for piece in pieces(span)] if statistics else []


def _statistics(part: Tensor) -> _Part:
    return part.numel(), central(scaled(part))
