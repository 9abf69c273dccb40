"""Choosing where to measure, and saying why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from initscope.errors import MeasurementError, UsageError, unknown
from initscope.options import DTYPES


class Choice(NamedTuple):
    """A device, and the reason in a few words."""

    device: torch.device
    reason: str


def choose_device(name: str = "auto") -> Choice:
    """Resolve ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.

    Raises:
        UsageError: for a device that is unknown or not there.
    """
    if name == "auto":
        return _automatic()
    kind = name.partition(":")[0]
    if kind not in {"cpu", "cuda", "mps"}:
        raise unknown("device", name, ["auto", "cuda", "cuda:0", "mps", "cpu"])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is not of the form cuda:N with a whole N") from error
    _require(device, name)
    return Choice(device, "asked for")


def _automatic() -> Choice:
    if torch.cuda.is_available():
        return Choice(torch.device("cuda"), torch.cuda.get_device_name())
    if torch.backends.mps.is_available():
        return Choice(torch.device("mps"), "no CUDA here")
    return Choice(torch.device("cpu"), "no CUDA or MPS here")


def _require(device: torch.device, name: str) -> None:
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {name!r}: PyTorch sees no CUDA here; --device cpu would run")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UsageError(f"device {name!r}: the last CUDA device here is cuda:{last}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"device {name!r}: PyTorch sees no MPS here; --device cpu would run")


def choose_dtype(name: str) -> torch.dtype:
    """Resolve a dtype by name.

    Raises:
        UsageError: for a dtype that weights are not measured in.
    """
    if name not in DTYPES:
        raise unknown("dtype", name, DTYPES)
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that a measurement may take, where the system tells."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type != "cpu":
        return None
    return min((free for free in (_machine(), *_groups()) if free is not None), default=None)


MEMINFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def _machine() -> int | None:
    """Return what Linux could give without swapping."""
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _groups() -> Iterator[int]:
    """Yield what is left of the limit of each control group that this process is in."""
    for line in _lines(OWN_GROUPS):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield from _left(path, GROUPS, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            yield from _left(path, GROUPS / "memory", "memory.limit_in_bytes",
                             "memory.usage_in_bytes", "total_inactive_file")  # fmt: skip


def _left(path: str, root: Path, limit: str, used: str, cache: str) -> Iterator[int]:
    """Yield limit − use of a group and of those around it; files' idle pages are no use."""
    inside = root / path.lstrip("/")
    for folder in (inside, *inside.parents):
        if not folder.is_relative_to(root):
            return
        most, now = (next(iter(_lines(folder / name)), "") for name in (limit, used))
        if most.isdigit() and now.isdigit():
            idle = dict(line.split() for line in _lines(folder / "memory.stat")).get(cache, "0")
            yield max(0, int(most) - int(now) + int(idle))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def require_memory(device: torch.device, needed: int) -> None:
    """Refuse before the machine swaps.

    Raises:
        MeasurementError: when more is needed than is free.
    """
    free = free_bytes(device)
    if free is not None and needed > free:
        raise MeasurementError(
            f"this needs about {needed / 2**30:.1f} GiB on {device}, and {free / 2**30:.1f} GiB "
            "are free; a smaller --seq-len or --batch, --forward-only or --dtype bfloat16 "
            "needs less"
        )
