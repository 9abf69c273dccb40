"""Jobs side by side: their order, their errors, and that a stop reaches every lane."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from initscope.lanes import side_by_side, workers

Checkpoint = Callable[[], None]


def test_results_come_in_order_whoever_ends_first() -> None:
    first_may_end = threading.Event()

    def first(_checkpoint: Checkpoint) -> int:
        assert first_may_end.wait(60)
        return 1

    def second(_checkpoint: Checkpoint) -> int:
        first_may_end.set()  # so the two do run at once
        return 2

    assert side_by_side([first, second], 2) == [1, 2]


def test_one_lane_runs_in_the_caller_s_thread() -> None:
    def job(_checkpoint: Checkpoint) -> str:
        return threading.current_thread().name

    here = threading.current_thread().name
    assert side_by_side([job, job], 1) == [here, here]
    assert side_by_side([job], 4) == [here]
    assert here not in side_by_side([job, job], 2)


def test_an_error_ends_the_other_lanes_and_is_raised() -> None:
    running, rounds = threading.Event(), []

    def endless(checkpoint: Checkpoint) -> None:
        running.set()
        while True:
            rounds.append(1)
            checkpoint()

    def failing(_checkpoint: Checkpoint) -> None:
        assert running.wait(60)
        raise ValueError("as planned")

    with pytest.raises(ValueError, match="as planned"):
        side_by_side([endless, failing, endless], 2)
    assert rounds


def test_ctrl_c_ends_every_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    running = threading.Barrier(3)

    def endless(checkpoint: Checkpoint) -> None:
        running.wait(60)
        while True:
            checkpoint()

    def interrupted(*_args: object, **_kwargs: object) -> None:
        monkeypatch.undo()  # what follows waits for the lanes to end
        running.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr("initscope.lanes.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        side_by_side([endless, endless], 2)


def test_lanes_share_the_cores_and_leave_the_caller_its_own() -> None:
    before = torch.get_num_threads()
    cores = side_by_side([lambda _checkpoint: torch.get_num_threads()] * 2, 2)
    assert cores == [max(1, before // 2)] * 2
    assert torch.get_num_threads() == before
    assert workers(2, max(1, before // 2)) is workers(2, max(1, before // 2))
