"""Independent jobs side by side, each with its share of the cores.

A pass through a small model is a thousand short operations. Splitting each of them over the
cores costs a rendezvous apiece, which another process on the machine turns into a wait for the
scheduler; passes that run next to each other need none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import cache
from threading import Barrier, Event, local
from typing import TypeVar

import torch

T = TypeVar("T")
Job = Callable[[Callable[[], None]], T]


_here = local()


class _StoppedError(Exception):
    """Ends a job whose neighbour failed, or whose user left."""


@cache
def workers(count: int, each: int = 1) -> ThreadPoolExecutor:
    """Start threads that compute on ``each`` cores."""
    before, started = torch.get_num_threads(), Barrier(count)

    def initialise() -> None:
        _here.in_a_lane = True
        torch.get_num_threads()  # a thread's first use of PyTorch takes over the global number
        torch.set_num_threads(each)

    pool = ThreadPoolExecutor(count, "initscope", initialise)
    list(pool.map(lambda _: started.wait(), range(count)))
    torch.set_num_threads(before)  # a worker's own number became the global one
    return pool


def in_a_lane() -> bool:
    """Say whether the calling thread is one of :func:`workers`."""
    return getattr(_here, "in_a_lane", False)


def side_by_side(jobs: Sequence[Job[T]], lanes: int) -> list[T]:
    """Run jobs in ``lanes`` threads, the first ones first; return their results in order.

    Each job is given a function to call now and then: it raises where the job is to end, since
    another has failed or the user has pressed Ctrl-C.
    """
    lanes = min(lanes, len(jobs))
    if lanes < 2:
        return [job(_go_on) for job in jobs]
    stop = Event()

    def checkpoint() -> None:
        if stop.is_set():
            raise _StoppedError

    pool = workers(lanes, max(1, torch.get_num_threads() // lanes))
    futures = [pool.submit(job, checkpoint) for job in jobs]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:  # also when the wait itself was interrupted
        stop.set()
        for future in futures:
            future.cancel()
        wait(futures)
    return _results(futures)


def _go_on() -> None:
    """Let a job that has no neighbours run to its end."""


def _results(futures: Sequence[Future[T]]) -> list[T]:
    """Return all results, or raise what went wrong first."""
    for future in futures:
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, _StoppedError):
            raise error
    return [future.result() for future in futures]
