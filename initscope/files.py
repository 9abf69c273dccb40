"""Where results go and come from: a file, whole or not at all, or the standard streams."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from initscope.errors import MeasurementError, UsageError

STDOUT = "-"  # as a source, stdin

_LONGEST_NAME = 255  # bytes, on every common file system


def check_writable(destination: str | Path, *, binary: bool = False) -> None:
    """Refuse a destination that could not be written; ask before a long measurement.

    Args:
        destination: a path, or ``-`` for stdout.
        binary: whether what will be written is no text, so that no terminal can show it.

    Raises:
        UsageError: naming the trouble and what would be right.
    """
    if str(destination) == STDOUT:
        if binary:
            _refuse_terminal()
        return
    trouble = _trouble(Path(destination))
    if trouble:
        raise UsageError(f"cannot write {destination}: {trouble}")


def deliver(destination: str | Path, data: bytes | str) -> None:
    """Write a result to a file, or to stdout if the destination is ``-``.

    Raises:
        UsageError: for binary data and a stdout that is a terminal.
        MeasurementError: when it could not be written.
        BrokenPipeError: when the reader of stdout has left.
    """
    if str(destination) == STDOUT:
        _print(_encoded(data))
    else:
        write_atomically(destination, data)


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write a file whole or not at all: beside, then renamed. Text is written as UTF-8.

    A symlink is written through, and permissions are those that a plain ``open`` would leave.
    What is no regular file (a device, a pipe) cannot be replaced and is written directly.

    Raises:
        MeasurementError: when it could not be written; the file is then as it was before.
        BrokenPipeError: when the reader of a pipe has left.
    """
    with _failures(path):
        if _is_special(path):
            Path(path).write_bytes(_encoded(data))
        else:
            _replace(Path(os.path.realpath(path)), _encoded(data))


def read(source: str | Path) -> bytes:
    """Read a file, or stdin if the source is ``-``.

    Raises:
        UsageError: when it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if str(source) == STDOUT else Path(source).read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"cannot read {source}: there is no such file") from error
    except IsADirectoryError as error:
        raise UsageError(f"cannot read {source}: it is a folder; name a file in it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {source}: {reason}") from error


def _replace(target: Path, data: bytes) -> None:
    beside = target.with_name(f".initscope-{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)  # nothing is left of it once it has been renamed


def _trouble(path: Path) -> str | None:
    """Say in words why a path cannot be written, if so."""
    folder = Path(os.path.realpath(path)).parent
    troubles = {
        "it is a folder; name a file in it": os.path.isdir(path),  # noqa: PTH112 - never raises
        f"its name is longer than {_LONGEST_NAME} bytes; choose a shorter one": (
            len(os.fsencode(path.name)) > _LONGEST_NAME
        ),
        "it is write-protected; choose another name": (
            os.path.exists(path) and not os.access(path, os.W_OK)  # noqa: PTH110 - never raises
        ),
        **(_troubles_of(folder) if not _is_special(path) else {}),
    }
    return next((trouble for trouble, present in troubles.items() if present), None)


def _troubles_of(folder: Path) -> dict[str, bool]:
    """Say what can be wrong with a folder to write in, and whether it is."""
    exists = os.path.exists(folder)  # noqa: PTH110 - never raises
    return {
        f"the folder {folder} does not exist; create it first": not exists,
        f"{folder} is a file; name a folder there": os.path.isfile(folder),  # noqa: PTH113
        f"no file can be created in {folder}; choose a folder that you may write to": (
            not os.access(folder, os.W_OK | os.X_OK)
        ),
    }


def _is_special(path: str | Path) -> bool:
    """Tell whether a path is a device, a pipe or a socket."""
    known = os.path.isfile(path) or os.path.isdir(path)  # noqa: PTH112, PTH113 - never raise
    return os.path.exists(path) and not known  # noqa: PTH110


def _print(data: bytes) -> None:
    if _is_binary(data):
        _refuse_terminal()
    with _failures("to stdout"):
        sys.stdout.flush()
        left = memoryview(data)
        while left:  # unbuffered (PYTHONUNBUFFERED), one write may take only a part
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()


@contextmanager
def _failures(destination: str | Path) -> Iterator[None]:
    """Turn what the system refuses into one sentence."""
    try:
        yield
    except BrokenPipeError:
        raise  # no failure: the reader has seen enough
    except OSError as error:
        reason = error.strerror or error
        raise MeasurementError(f"could not write {destination}: {reason}") from error


def _refuse_terminal() -> None:
    if sys.stdout.isatty():
        raise UsageError("a terminal cannot show binary data; name a file instead of -, or pipe it")


def _is_binary(data: bytes) -> bool:
    try:
        return "\0" in data.decode()
    except UnicodeDecodeError:
        return True


def _encoded(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data
