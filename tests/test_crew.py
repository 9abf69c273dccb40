"""A crew: every job is done once, in whatever thread, and nothing outlives it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
import torch

from initscope.crew import ALONE, Crew, Task, half_of_the_cores, hired
from initscope.lanes import side_by_side

CPU = torch.device("cpu")


def name() -> str:
    return threading.current_thread().name


def test_without_threads_a_job_runs_at_once_and_raises_at_once() -> None:
    assert not ALONE
    assert ALONE.submit(name).result() == name()
    with pytest.raises(ZeroDivisionError):
        ALONE.submit(lambda: 1 / 0)


def test_jobs_run_beside_the_caller() -> None:
    with hired(1) as crew:
        assert crew
        held = threading.Event()
        first = crew.submit(lambda: held.wait(60) and name())
        held.set()
        assert first.result() != name()


def test_the_caller_helps_while_it_waits_but_never_twice() -> None:
    held, begun = threading.Event(), threading.Event()
    runs: list[int] = []

    def blocking() -> None:
        begun.set()
        assert held.wait(60)

    def job(number: int) -> str:
        runs.append(number)
        if number == 3:
            held.set()  # only the caller can get here
        return name()

    with hired(1, helps=True) as crew:
        crew.submit(blocking)
        assert begun.wait(60)
        tasks = [crew.submit(partial(job, number)) for number in range(4)]
        crew.settle()
        assert {task.result() for task in tasks} == {name()}
    assert sorted(runs) == [0, 1, 2, 3]


def test_catching_up_leaves_the_latest_jobs_open() -> None:
    held = threading.Event()
    with hired(1) as crew:
        early = crew.submit(name)
        crew.catch_up()
        late = crew.submit(lambda: held.wait(60))
        crew.catch_up()  # waits for the early one alone
        assert early.result()
        held.set()
        crew.catch_up()
        assert late.result() is True


def test_an_error_is_raised_where_it_is_waited_for() -> None:
    def failing() -> None:
        raise ValueError("as planned")

    with hired(1) as crew:
        task = crew.submit(failing)
        for wait in (crew.settle, task.result, lambda: crew.wait([task])):
            with pytest.raises(ValueError, match="as planned"):
                wait()


def test_what_has_not_begun_is_dropped_when_the_caller_fails() -> None:
    held, begun = threading.Event(), threading.Event()
    ran: list[str] = []

    def blocking() -> None:
        begun.set()
        held.wait(60)
        ran.append("begun")

    def interrupted(crew: Crew) -> None:
        crew.submit(blocking)
        crew.submit(lambda: ran.append("dropped"))
        assert begun.wait(60)
        threading.Timer(0.1, held.set).start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), hired(1) as crew:
        interrupted(crew)
    assert ran == ["begun"]


def test_jobs_take_no_gradients() -> None:
    x = torch.ones(2, requires_grad=True)
    with torch.enable_grad(), hired(1) as crew:
        assert not crew.submit(lambda: x * 2).result().requires_grad
        assert not ALONE.submit(lambda: x * 2).result().requires_grad


def test_it_takes_half_of_the_cores_and_gives_them_back(on_cores: Callable[[int], None]) -> None:
    for cores, own, strength in ((2, 1, 2), (3, 2, 1), (8, 4, 4)):
        on_cores(cores)
        with half_of_the_cores(CPU) as crew:
            assert torch.get_num_threads() == own
            assert crew.submit(torch.get_num_threads).result() == 1
            assert crew.strength == strength
        assert torch.get_num_threads() == cores


def test_there_is_none_on_one_core_on_another_device_or_in_a_lane(
    on_cores: Callable[[int], None],
) -> None:
    def alone(_checkpoint: Callable[[], None]) -> bool:
        with half_of_the_cores(CPU) as crew:
            return crew is ALONE

    on_cores(1)
    assert alone(lambda: None)
    on_cores(4)
    with half_of_the_cores(torch.device("cuda")) as crew:
        assert crew is ALONE
    assert side_by_side([alone, alone], 2) == [True, True]


def test_a_dropped_job_never_runs() -> None:
    ran: list[int] = []
    task = Task(lambda: ran.append(1))
    task.drop()
    task.run()
    assert not ran
