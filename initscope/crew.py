"""Work beside the signal's way: what nobody waits for yet runs on cores of its own.

A signal goes through a deep model one operation after another, and splitting each of them over
the cores costs a rendezvous apiece. Weights and statistics do not lie on that way: drawing the
next block and reducing the last tensors keep the other cores busy instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock
from typing import Any, Generic, TypeVar

import torch

from initscope.lanes import in_a_lane, workers

T = TypeVar("T")


class Task(Generic[T]):
    """A job that whoever comes first runs, once, without gradients."""

    def __init__(self, job: Callable[[], T]) -> None:
        self._job: Callable[[], T] | None = job
        self._claim, self._running = Lock(), Lock()
        self._running.acquire()
        self._value: T
        self._error: Exception | None = None

    def run(self) -> None:
        """Run the job, unless someone has begun it."""
        if not self._claim.acquire(blocking=False):
            return
        assert self._job is not None
        try:
            with torch.no_grad():
                self._value = self._job()
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            self._error = error
        finally:
            self._job = None  # and with it the tensors that it held
            self._running.release()

    def drop(self) -> None:
        """See to it that the job does not begin any more."""
        self._claim.acquire(blocking=False)

    def result(self) -> T:
        """Wait for the job; return its value or raise its error."""
        with self._running:
            pass
        if self._error is not None:
            raise self._error
        return self._value


class Crew:
    """The threads beside the one that carries the signal; without any, jobs run at once.

    Args:
        pool: where the threads come from, if there are some.
        threads: how many.
        helps: whether the caller runs jobs too while it waits. It must compute on as many cores
            as a thread of the pool does, for sums depend on that in their last bits.
    """

    def __init__(
        self, pool: Executor | None = None, threads: int = 0, *, helps: bool = False
    ) -> None:
        self.strength = max(1, threads + helps)  # how many jobs run at once
        self._helps = helps
        self._bell: SimpleQueue[int] = SimpleQueue()  # rings 1 a job; 0 sends one home
        self._jobs: deque[Task[Any]] = deque()
        self._open: list[Task[Any]] = []
        self._mark = 0  # how many of them the last call of catch_up has seen
        self._working = [pool.submit(self._work) for _ in range(threads)] if pool else []

    def __bool__(self) -> bool:
        """Say whether jobs run beside the caller."""
        return bool(self._working)

    def _work(self) -> None:
        while self._bell.get():
            self._jobs.popleft().run()

    def submit(self, job: Callable[[], T], *, first: bool = False) -> Task[T]:
        """Have a job done, at the latest when :meth:`settle` returns; or before all others."""
        task = Task(job)
        if self:
            self._open.append(task)
            (self._jobs.appendleft if first else self._jobs.append)(task)
            self._bell.put(1)
        else:
            task.run()
            task.result()  # raises at once
        return task

    def wait(self, tasks: Sequence[Task[Any]]) -> None:
        """Wait until these are done; raise what went wrong first."""
        if self._helps:
            for task in tasks:
                task.run()
        for task in tasks:
            task.result()

    def share(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Do jobs, parts of which a crew that has nothing else to do takes over.

        A caller that may not run the crew's jobs does them all: the crew's own jobs share too, and
        would wait for themselves.
        """
        if self._helps:
            self.wait([self.submit(job) for job in jobs])
        else:
            for job in jobs:
                job()

    def catch_up(self) -> None:
        """Wait for the jobs given before the last call of this, which so bounds what is open."""
        self.wait(self._open[: self._mark])
        del self._open[: self._mark]
        self._mark = len(self._open)

    def settle(self) -> None:
        """Wait for all jobs."""
        self.wait(self._open)
        self._open, self._mark = [], 0

    def dismiss(self) -> None:
        """Drop the jobs that have not begun, wait for the others, and let the threads go."""
        for task in self._open:
            task.drop()
        for _ in self._working:
            self._bell.put(0)
        for worker in self._working:
            worker.result()
        self._open, self._mark, self._working = [], 0, []


ALONE = Crew()


@contextmanager
def hired(threads: int, *, helps: bool = False) -> Iterator[Crew]:
    """Gather a crew, and let it go in the end, whatever happened."""
    crew = Crew(workers(threads), threads, helps=helps)
    try:
        yield crew
    finally:
        crew.dismiss()


@contextmanager
def half_of_the_cores(device: torch.device) -> Iterator[Crew]:
    """Give half of the caller's cores to a crew, where it computes on several of a CPU's.

    A pass that shares the machine with others in lanes has none: they are each other's.
    """
    cores = torch.get_num_threads()
    beside = cores // 2
    if device.type != "cpu" or not beside or in_a_lane():
        yield ALONE
        return
    with hired(beside, helps=cores - beside == 1) as crew:
        torch.set_num_threads(cores - beside)
        try:
            yield crew
        finally:
            torch.set_num_threads(cores)
