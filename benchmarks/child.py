"""One measurement in a process of its own, ended before it makes the machine swap.

How much a contestant needs is not computed but tried: its resident memory is watched while it
runs, and it is ended where it passes the limit or leaves the machine less than a reserve.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

RESERVE = 1 << 30  # bytes that are left to the rest of the machine
PERIOD = 0.02  # seconds between two looks; a core touches some 50 MB meanwhile

OK, TOO_LARGE, TOO_SLOW, ABSENT, FAILED = (
    "ok", "does not fit", "too slow", "not installed", "failed",
)  # fmt: skip

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "MemoryError",
              "OutOfMemoryError", "bad_alloc")  # fmt: skip


class Limits(NamedTuple):
    """Resident bytes (0 for all that is available) and seconds that a child may take."""

    memory: int = 0
    seconds: float = 3600.0


class Outcome(NamedTuple):
    """How a child ended, what it said of itself, and why it did not where it did not."""

    status: str
    found: dict[str, Any]
    detail: str = ""


def run(arguments: list[str], limits: Limits = Limits()) -> Outcome:  # noqa: B008 - it is immutable
    """Run ``python -m benchmarks.worker`` and return what it printed."""
    command = [sys.executable, "-m", "benchmarks.worker", *arguments]
    allowed = limits.memory or available() - RESERVE
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, text=True)
        try:
            ended = _watch(process, allowed, limits.seconds)
        finally:
            process.kill()
            process.wait()
        return ended or _outcome(process.returncode, _read(out), _read(err))


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _watch(process: subprocess.Popen[str], allowed: int, seconds: float) -> Outcome | None:
    """Wait for a child; say why where it had to be ended."""
    end, peak = time.monotonic() + seconds, 0
    while process.poll() is None:
        held = resident(process.pid)
        peak = max(peak, held)
        if held > allowed or available() < RESERVE // 2:
            return Outcome(TOO_LARGE, {"bytes": peak}, f"ended at {peak / 2**30:.1f} GiB")
        if time.monotonic() > end:
            return Outcome(TOO_SLOW, {"bytes": peak}, f"ended after {seconds:.0f} s")
        time.sleep(PERIOD)
    return None


def _outcome(code: int, out: str, err: str) -> Outcome:
    lines = out.strip().splitlines()
    if code == 0 and lines:
        found = json.loads(lines[-1])
        return Outcome(found.pop("status", OK), found, found.pop("detail", ""))
    last = err.strip().splitlines()[-1] if err.strip() else f"exit code {code}"
    if any(words in err for words in _NO_MEMORY):
        return Outcome(TOO_LARGE, {}, last)
    return Outcome(FAILED, {}, last)


def resident(pid: int) -> int:
    """Return a process's resident bytes; 0 where the system does not tell, or it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * 4096


def available() -> int:
    """Return the bytes that may be taken without swapping; unlimited where it is not told."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return sys.maxsize
    row = next(line for line in lines if line.startswith("MemAvailable"))
    return int(row.split()[1]) * 1024
