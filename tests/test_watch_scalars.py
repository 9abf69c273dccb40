"""A watched run's scalars: their names, and how TensorBoard and Weights & Biases get them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import initscope
from initscope.errors import UsageError
from initscope.training.scalars import scalars
from users_gpt import users_gpt
from watched import values, watched

ROOT = Path(__file__).parents[1]


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
    # Whether wandb is there to be looked at or not: mypy has nothing to say.
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined,unused-ignore]

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
