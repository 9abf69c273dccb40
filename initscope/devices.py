"""Choosing where to measure, and saying why."""

from __future__ import annotations

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
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.exists():
        return None
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


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
