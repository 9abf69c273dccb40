"""Memory: what a user's model needs, what there is, and what is said where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import Command, in_process
from initscope import devices
from initscope.construction import Allocation
from initscope.errors import MeasurementError
from initscope.options import Options
from initscope.own import Subject
from initscope.own import room as rooms
from initscope.own.room import Limit, Room, room
from initscope.own.staging import hollow
from initscope.resident import feed, measure
from initscope.target import load_factory
from live_bytes import LiveBytes
from small import ids
from users_gpt import users_gpt

USERS = f"{Path(__file__).parent / 'users_gpt.py'}:UsersGPT"
CPU = torch.device("cpu")
MIB = 2**20


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return in_process(tmp_path, monkeypatch, capsys)


# --- what is needed ---


@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize("fields", [{"n_layer": 8}, {"n_layer": 2, "n_embd": 96}])
def test_the_estimate_is_near_what_is_taken(backward: bool, fields: dict[str, Any]) -> None:
    """Within a half and twice the peak of live bytes: the estimate knows no single operation."""
    tokens = ids(batch=4, length=33)
    shape = {"n_head": 4, **fields}
    model = hollow(load_factory(USERS).using(shape))
    assert model is not None
    needed = room(model, "", 4 * 32, Options(forward_only=not backward), Allocation())
    with LiveBytes() as mode:
        built = users_gpt(**shape).eval()
        measure(built, feed(built, tokens), backward=backward)
    assert mode.peak / 2 < needed.whole < mode.peak * 2
    assert needed.built == sum(p.numel() for p in built.parameters()) * 4


def test_by_block_only_inputs_grow_with_the_depth() -> None:
    def needs(depth: int) -> Room:
        model = hollow(load_factory(USERS).using({"n_layer": depth}))
        assert model is not None
        return room(model, "", 64, Options(), Allocation())

    shallow, deep = needs(4), needs(16)
    assert deep.weights_by_block == shallow.weights_by_block
    assert deep.activations_by_block - shallow.activations_by_block == 12 * 64 * 48 * 4
    assert deep.weights > 2 * shallow.weights


# --- what there is ---


def fake(monkeypatch: pytest.MonkeyPatch, folder: Path, **files: str) -> None:
    """Lay out /proc and /sys/fs/cgroup in a folder."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(devices, "MEMINFO", folder / "meminfo")
    monkeypatch.setattr(devices, "OWN_GROUPS", folder / "cgroup")
    monkeypatch.setattr(devices, "GROUPS", folder / "groups")


MEMINFO = "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"


def test_what_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, tmp_path, meminfo=MEMINFO)
    assert devices.free_bytes(CPU) == 8000 * 1024
    fake(monkeypatch, tmp_path / "none")
    assert devices.free_bytes(CPU) is None


def test_a_control_group_has_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest limit is that of the group around it; a file's idle pages can be had back."""
    fake(
        monkeypatch, tmp_path, meminfo=MEMINFO, cgroup="0::/job/step\n",
        groups__job__step__memory_DOT_max="max\n",
        groups__job__step__memory_DOT_current="100\n",
        groups__job__memory_DOT_max="5000\n",
        groups__job__memory_DOT_current="3000\n",
        groups__job__memory_DOT_stat="anon 1\ninactive_file 500\n",
    )  # fmt: skip
    assert devices.free_bytes(CPU) == 5000 - 3000 + 500


def test_a_control_group_of_the_first_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = "groups__memory__docker__memory_DOT_"
    fake(
        monkeypatch, tmp_path, meminfo=MEMINFO, cgroup="4:cpu,memory:/docker\n2:pids:/docker\n",
        **{f"{group}limit_in_bytes": "7000", f"{group}usage_in_bytes": "6000",
           f"{group}stat": "total_inactive_file 10\n"},
    )  # fmt: skip
    assert devices.free_bytes(CPU) == 1010


# --- what is done ---

NEEDS = Room(weights=900, activations=100, built=800, weights_by_block=90, activations_by_block=10)


@pytest.mark.parametrize(
    ("free", "allowed", "drawn", "whole"),
    [
        (1000, 0, True, True), (999, 0, True, False), (2000, 999, True, False),
        (2000, 2000, True, True), (100, 0, True, False),
    ],
)  # fmt: skip
def test_whole_where_it_fits_and_by_block_where_that_does(
    free: int, allowed: int, drawn: bool, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "free_bytes", lambda _device: free)
    assert Limit("m.py:M", Allocation(), allowed).holds(NEEDS, drawn=drawn) is whole


def test_a_host_too_small_to_build_it_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "free_bytes", lambda at: 700 if at.type == "cpu" else 5000)
    limit = Limit("m.py:M", Allocation(torch.device("cuda")))
    assert not limit.holds(NEEDS, drawn=True)
    assert limit.holds(NEEDS, drawn=False), "a checkpoint is mapped, tensor by tensor"


def test_what_fits_in_no_way_is_one_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        raise AssertionError("nothing is built before")

    monkeypatch.setattr(Subject, "build", build)
    monkeypatch.setattr(rooms, "free_bytes", lambda _device: MIB // 8)
    for name in ("inspect", "check"):
        end = command(name, "--model", USERS, "--n-layer", "8", "--seq-len", "16")
        assert (end.code, end.out) == (3, "")
        said = end.err.splitlines()[-1]
        assert "UsersGPT needs about " in said
        assert "and 0.1 MiB are free, where one block at a time takes " in said
        assert "a smaller --seq-len or --batch, --forward-only" in said


def test_memory_makes_it_go_by_block_and_says_so(command: Command) -> None:
    words = ("--model", USERS, "--n-layer", "16", "--seq-len", "4", "--init", "nanogpt",
             "--forward-only", "--no-depth-law")  # fmt: skip
    end = command("inspect", *words, "--memory", "1MiB", "--json", "-")
    assert end.code == 0, end.err
    assert "MiB are allowed: one block at a time gets weights" in end.err
    whole = command("inspect", *words, "--json", "-")
    assert "one block" not in whole.err
    assert whole.out == end.out


def test_an_audit_holds_the_whole_model(command: Command) -> None:
    words = ("--n-layer", "16", "--seq-len", "4", "--memory", "1MiB")
    end = command("audit", "--model", USERS, *words)
    assert end.code == 3
    assert "are allowed; a smaller model needs less" in end.err


def test_memory_that_runs_out_anyway_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Subject, "stage", full)
    with pytest.raises(MeasurementError, match="out of memory on cpu"):
        Subject(factory=load_factory(USERS)).measure(2, Options(seq_len=8), 0)
