"""Where a watched run's profiles go: lines of a file, TensorBoard, Weights & Biases."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import initscope
from initscope.errors import UsageError
from initscope.store import load
from initscope.training.scalars import scalars
from users_gpt import users_gpt
from watched import quiet, train, values, watched

ROOT = Path(__file__).parents[1]


def steps(file: Path) -> list[int | None]:
    return [profile.run.step for profile in load(file)]


# --- JSON Lines ---


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


# --- scalars ---


def test_scalars_are_few_and_named_for_good() -> None:
    w = watched(users_gpt(n_layer=12), 1)
    assert w.profile is not None
    named = scalars(w.profile)
    assert len(named) == 4 * 8 + 5
    got = values(w.profile)
    for name, key in {
        "resid_post/layer_03/variance": (3, "resid_post", "forward", "variance"),
        "resid_post/layer_11/grad_second_moment": (11, "resid_post", "backward", "second_moment"),
        "mlp_down/layer_00/branch_ratio": (0, "mlp_down", "forward", "branch_ratio"),
        "loss/loss": (12, "loss", "forward", "loss"),
        "model/weight_grad_grad_norm": (12, "model", "weight_grad", "grad_norm"),
    }.items():
        assert named[f"initscope/{name}"] == got[key]


def test_scalars_are_chosen_by_patterns() -> None:
    w = watched(users_gpt(), 1)
    assert w.profile is not None
    assert len(scalars(w.profile, ["*"])) == w.profile.table["value"].notna().sum()
    only = scalars(w.profile, ["resid_post/*/variance", "wte/weight_variance"])
    assert set(only) == {f"initscope/resid_post/layer_0{n}/variance" for n in range(3)} | {
        "initscope/wte/weight_variance"
    }


class Recorded:
    """What a run of W&B's takes, written down."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.metrics: list[tuple[str, str | None]] = []

    def log(self, named: dict[str, float]) -> None:
        self.logged.append(named)

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics.append((name, step_metric))


def test_anything_with_log_takes_scalars_against_a_step_of_their_own() -> None:
    run = Recorded()
    w = watched(users_gpt(), 4, every=2, wandb=run)
    assert run.metrics == [("initscope/step", None), ("initscope/*", "initscope/step")]
    assert [row.pop("initscope/step") for row in run.logged] == [0, 2]
    assert run.logged == [scalars(profile) for profile in w.profiles]


def test_tensorboard_gets_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path / "theirs"))
    w = watched(users_gpt(), 3, every=2, tensorboard=tmp_path / "ours")
    watched(users_gpt(), 3, every=2, tensorboard=writer, scalars=["*/variance"])
    writer.add_scalar("still", 1.0, 0)  # open still
    writer.close()
    for folder, patterns in (("ours", ()), ("theirs", ["*/variance"])):
        events = EventAccumulator(str(tmp_path / folder)).Reload()
        tags = set(events.Tags()["scalars"]) - {"still"}
        want = [scalars(profile, patterns) for profile in w.profiles]
        assert tags == set(want[0])
        for tag in tags:
            assert [event.step for event in events.Scalars(tag)] == [0, 2]
            found = [event.value for event in events.Scalars(tag)]
            assert found == pytest.approx([named[tag] for named in want], rel=1e-6)


def test_without_tensorboard_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'initscope\[tensorboard\]'"):
        initscope.watch(users_gpt(), tensorboard=tmp_path)


OFFLINE = """
import sys, warnings, wandb
from users_gpt import users_gpt
from watched import watched
run = wandb.init(mode="offline", dir=sys.argv[1], project="p", settings=wandb.Settings(silent=True))
run.log({"mine": 1.0})
watched(users_gpt(), 3, every=2, wandb=run, scalars=["resid_post/*/variance"])
run.log({"mine": 2.0})
run.finish()
print(run.settings.sync_file)
"""


def test_a_run_of_wandb_offline_keeps_them(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs wandb")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": paths, "WANDB_MODE": "offline"}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(history(done.stdout.split()[-1]))
    ours = [row for row in rows if "initscope/step" in row]
    assert [row["initscope/step"] for row in ours] == [0, 2]
    want = watched(users_gpt(), 3, every=2).profiles
    for row, profile in zip(ours, want, strict=True):
        for name, value in scalars(profile, ["resid_post/*/variance"]).items():
            assert row[name] == pytest.approx(value, rel=1e-9)
    assert [row["mine"] for row in rows if "mine" in row] == [1.0, 2.0]


def history(file: str) -> Iterator[dict[str, float]]:
    """Read the rows that an offline run of W&B's logged."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    for data in records(Path(file).read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            yield {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }


def records(data: bytes) -> Iterator[bytes]:
    """Take a LevelDB log apart: blocks of 32 KiB, of chunks with checksum, length and type."""
    place, record = 7, b""  # behind the file's own header
    while place + 7 <= len(data):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or its last chunk
            yield record
            record = b""
