"""The processes that measure one model, and the few things that they do together."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from initscope.anatomy.local import is_distributed, local
from initscope.errors import MeasurementError
from initscope.readout import Key, Moments, Parts
from initscope.resident import pooling
from initscope.resident.pooling import Rows

TIMEOUT = timedelta(minutes=10)  # for one exchange: the processes arrive within a pass of another


@dataclass(frozen=True)
class Ranks:
    """Process groups, by what their members hold, and the device that they exchange on.

    DDP and FSDP2 give each process rows of its own of the batch (``data``); tensor parallelism
    gives it features of the same rows (``model``). Without groups nothing is exchanged.
    """

    data: tuple[Any, ...] = ()
    model: tuple[Any, ...] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __bool__(self) -> bool:
        """Whether there is anyone to exchange with."""
        return bool(self.data or self.model)

    @property
    def shares(self) -> int:
        """Into how many the batch has been divided."""
        return math.prod(group.size() for group in self.data)

    @property
    def share(self) -> int:
        """Which of them this process has, from 0 on."""
        place = 0
        for group in self.data:
            place = place * group.size() + group.rank()
        return place

    # --- exchanges: every process of the groups takes part in each, in the same order ---

    def sum(self, values: Rows, groups: Iterable[Any] | None = None) -> Rows:
        """Sum an array over all processes, or those of some groups."""
        return self._reduced(values, "SUM", groups)

    def max(self, values: Rows) -> Rows:
        """Take the largest over all processes, entry by entry."""
        return self._reduced(values, "MAX")

    def _reduced(self, values: Rows, how: str, groups: Iterable[Any] | None = None) -> Rows:
        tensor = torch.from_numpy(np.array(values, dtype=np.float64)).to(self.device)
        self._reduce(tensor, how, (*self.data, *self.model) if groups is None else groups)
        return tensor.cpu().numpy()

    @staticmethod
    def _reduce(tensor: Tensor, how: str, groups: Iterable[Any]) -> None:
        from torch import distributed

        # Not distributed.all_reduce: gloo would keep the process alive for the group's own time.
        options = distributed.AllreduceOptions()
        options.reduceOp = getattr(distributed.ReduceOp, how)
        options.timeout = TIMEOUT
        for group in groups:
            with _in_time():
                group.allreduce([tensor], options).wait(TIMEOUT)

    def sum_over_model(self, tensor: Tensor) -> Tensor:
        """Sum in place over the processes that have the same rows of the batch."""
        self._reduce(tensor, "SUM", self.model)
        return tensor

    def gradients(self, parameters: Sequence[nn.Parameter]) -> Iterator[Tensor | None]:
        """Yield what this process holds of the gradients of the whole batch, and let them go.

        FSDP2 has averaged those of what it shards. None where no process has one.
        """
        found = self.max(np.array([float(p.grad is not None) for p in parameters]))
        for parameter, somewhere in zip(parameters, found, strict=True):
            gradient, parameter.grad = parameter.grad, None
            if not somewhere:
                yield None
            elif is_distributed(parameter):
                yield torch.zeros(0) if gradient is None else local(gradient)
            else:
                gradient = torch.zeros_like(parameter) if gradient is None else gradient
                yield self._averaged(gradient.to_dense().contiguous())

    def _averaged(self, gradient: Tensor) -> Tensor:
        self._reduce(gradient, "SUM", self.data)
        return gradient.div_(self.shares)

    def agree(self, *request: object) -> None:
        """Make sure that all are there and ask for the same.

        Raises:
            MeasurementError: where one is not, or asks for something else.
        """
        if self and not self._alike(request):
            raise MeasurementError(
                "the ranks measure different things: each has to call inspect on the same model "
                "with the same options, and with its own share of the batch"
            )

    def _alike(self, value: object) -> bool:
        digest = hashlib.sha256(repr(value).encode()).digest()
        number = float(int.from_bytes(digest[:6], "big"))  # exact in float64
        low, high = self.max(np.array([-number, number]))
        return bool(-low == high)

    def weight(self, counted: int) -> float:
        """Return the factor on this rank's mean loss that makes the mean over ranks the batch's.

        ``counted``: tokens that its own loss is the mean of. 1 where all have as many.
        """
        total = self.over_shares(counted)
        return self.shares * counted / total if total else 1.0

    def over_shares(self, count: int) -> int:
        """Return a count over the whole batch."""
        return int(self.sum(np.array([count]), self.data)[0]) if self.data else count

    def pool(self, parts: Parts) -> Parts:
        """Return the statistics of the whole: of all rows and of all features."""
        if not self:
            return parts
        keys = self._keys(list(parts))
        rows = np.array([self._row(key, parts.get(key)) for key in keys]).reshape(-1, 6)
        summed = self.sum(pooling.totals(rows))
        deviated = self.sum(pooling.deviations(rows, summed))
        merged = pooling.whole(summed, deviated, self.max(pooling.largest(rows)))
        return {key: Moments(*map(float, row)) for key, row in zip(keys, merged, strict=True)}

    def _row(self, key: Key, moments: Moments | None) -> tuple[float, ...]:
        """Return a part as a row; a gradient is of the mean loss of all, not of this share's."""
        if moments is None:
            return (0.0,) * 6
        if key.kind != "gradient":
            return tuple(moments)
        size, *values, largest = moments
        scaled = [x / self.shares**power for power, x in enumerate(values, start=1)]
        return (size, *scaled, largest / self.shares)

    def _keys(self, own: list[Key]) -> list[Key]:
        """Return the readings that any process has: most often they are the same everywhere."""
        from torch import distributed

        if self._alike(own):
            return own
        keys = own
        for group in (*self.data, *self.model):
            gathered: list[Any] = [None] * group.size()
            with _in_time():
                distributed.all_gather_object(gathered, keys, group)
            keys = list(dict.fromkeys(key for part in gathered for key in part))
        return keys


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of a timeout, or of a connection that the other end closed
        raise MeasurementError(
            f"another rank has failed or did not answer within {TIMEOUT}: {error}"
        ) from error


ALONE = Ranks()
