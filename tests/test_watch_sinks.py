"""A watched run's profiles in a file, whatever becomes of the run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import initscope
from initscope.errors import UsageError
from initscope.store import load
from users_gpt import users_gpt
from watched import quiet, train, values, watched

ROOT = Path(__file__).parents[1]


def steps(file: Path) -> list[int | None]:
    return [profile.run.step for profile in load(file)]


def test_each_profile_is_a_line_as_soon_as_it_is_read(tmp_path: Path) -> None:
    file, model, seen = tmp_path / "run.jsonl", users_gpt(), list[int]()
    w = quiet(model, jsonl=file)

    def look(_step: int) -> None:
        assert w.profile is not None  # reads out
        seen.append(len(file.read_text().splitlines()))

    train(model, 3, w, after=look)
    assert seen == [1, 2, 3]
    want = watched(users_gpt(), 3).profiles
    for got, profile in zip(load(file), want, strict=True):
        assert (got.run, got.config) == (profile.run, profile.config)
        np.testing.assert_equal(values(got), values(profile))


RUN = """
import sys
from watched import train
from users_gpt import users_gpt
import initscope
def after(step):
    print(step, flush=True)
    if step == 3:
        sys.stdin.read()  # until killed
model = users_gpt()
train(model, 5, initscope.watch(model, every=1, jsonl=sys.argv[1]), after=after)
"""


def test_a_killed_run_loses_its_last_step_at_most_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for step in range(4):
            assert int(process.stdout.readline()) == step
        process.send_signal(signal.SIGKILL)
    assert steps(file) == [0, 1, 2]
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:200])  # killed in the middle of a write
    assert steps(file) == [0, 1, 2]
    watched(users_gpt(), 2, start=3, jsonl=file)
    assert steps(file) == [0, 1, 2, 3, 4]


def test_a_file_of_something_else_is_not_added_to(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("my notes")
    with pytest.raises(UsageError, match=r"notes\.txt is no watched run"):
        initscope.watch(users_gpt(), jsonl=file)
    assert file.read_text() == "my notes"
    with pytest.raises(UsageError, match="does not exist"):
        initscope.watch(users_gpt(), jsonl=tmp_path / "nowhere" / "run.jsonl")


@pytest.mark.parametrize("data", [b"", b'{"schema":1,', b"\n"])
def test_a_file_without_a_whole_line_has_no_profile(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=r"empty|no whole profile"):
        load(file)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    watched(users_gpt(), 2, jsonl=file)
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[: len(second) // 2] + b"\n" + second)
    with pytest.raises(UsageError, match=r"run\.jsonl: line 2: it is not JSON"):
        load(file)


def test_a_full_disk_does_not_end_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Full:
        def write(self, _data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            pass

    opened = Path.open
    monkeypatch.setattr(
        Path, "open",
        lambda path, *a, **k: Full() if path.suffix == ".jsonl" else opened(path, *a, **k),
    )  # fmt: skip
    with pytest.warns(UserWarning, match="No space left on device; nothing more is written there"):
        w = watched(users_gpt(), 3, jsonl=tmp_path / "run.jsonl")
    assert len(w.profiles) == 3
