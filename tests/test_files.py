"""Files are whole or not at all, and what cannot be written or read is said in one sentence."""

from __future__ import annotations

import io
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from initscope.errors import MeasurementError, UsageError
from initscope.files import check_writable, deliver, read, write_atomically

LONG = "x" * 256 + ".json"


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Let the kernel refuse to make a file longer than this many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- writing ---


def test_bytes_and_text_are_written_as_they_are(tmp_path: Path) -> None:
    for data, written in ((b"\0\xff\r\n longer", b"\0\xff\r\n longer"), ("σ\n", b"\xcf\x83\n")):
        write_atomically(tmp_path / "out", data)
        assert contents(tmp_path) == {"out": written}


@pytest.mark.parametrize("before", [{}, {"out": b"before"}])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, before: dict[str, bytes]) -> None:
    for name, data in before.items():
        (tmp_path / name).write_bytes(data)
    with no_file_above(1000), pytest.raises(MeasurementError) as failure:
        write_atomically(tmp_path / "out", b"x" * 100_000)
    assert str(failure.value) == f"could not write {tmp_path / 'out'}: File too large"
    assert contents(tmp_path) == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_whatever_stops_it_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, stop: type[BaseException]
) -> None:
    seen: list[list[str]] = []

    def stopped(*_: object) -> NoReturn:
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        raise stop

    (tmp_path / "out").write_bytes(b"before")
    monkeypatch.setattr(os if step == "fsync" else Path, step, stopped)
    with pytest.raises(stop):
        write_atomically(tmp_path / "out", b"after")
    assert len(seen[0]) == 2, "it was to be written beside, not in place"
    assert contents(tmp_path) == {"out": b"before"}


@pytest.mark.parametrize(
    ("path", "trouble"), [("gone/out", "No such file or directory"), ("folder", "Is a directory")]
)
def test_why_it_could_not_be_written_is_said(tmp_path: Path, path: str, trouble: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(MeasurementError, match=f"^could not write .*{path}: {trouble}$"):
        write_atomically(tmp_path / path, b"x")
    assert [there.name for there in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o000])
def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    write_atomically(tmp_path / "ours", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    os.umask(before)
    assert mode(tmp_path / "ours") == mode(tmp_path / "plain") == 0o666 & ~mask


def test_a_file_that_exists_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    (tmp_path / "out").chmod(0o604)
    write_atomically(tmp_path / "out", b"x")
    assert mode(tmp_path / "out") == 0o604


@pytest.mark.parametrize("dangling", [True, False])
def test_a_symlink_is_written_through(tmp_path: Path, dangling: bool) -> None:
    link, folder = tmp_path / "latest", tmp_path / "runs"
    folder.mkdir()
    link.symlink_to("runs/out")
    if not dangling:
        (folder / "out").write_bytes(b"before")
    check_writable(link)
    write_atomically(link, b"after")
    assert link.is_symlink()
    assert contents(folder) == {"out": b"after"}


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    check_writable(pipe)
    write_atomically(pipe, b"x" * 100_000)
    reader.join(timeout=10)
    assert received == [b"x" * 100_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


# --- asking before ---


def test_what_can_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"before")
    for path in (tmp_path / "there", tmp_path / "new", "-", "/dev/null"):
        check_writable(path)
    assert contents(tmp_path) == {"there": b"before"}


@pytest.mark.parametrize(
    ("path", "trouble"),
    [
        ("folder", "it is a folder; name a file in it"),
        ("gone/out", "the folder {0}/gone does not exist; create it first"),
        ("link", "the folder {0}/elsewhere does not exist; create it first"),
        ("file/out", "{0}/file is a file; name a folder there"),
        (LONG, "its name is longer than 255 bytes; choose a shorter one"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, path: str, trouble: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("elsewhere/out")
    with pytest.raises(UsageError) as refusal:
        check_writable(tmp_path / path)
    assert str(refusal.value) == f"cannot write {tmp_path / path}: {trouble.format(tmp_path)}"


@pytest.mark.parametrize(
    ("locked", "trouble"),
    [
        ("out", "it is write-protected; choose another name"),
        ("", "no file can be created in {0}; choose a folder that you may write to"),
    ],
)
def test_what_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: str, trouble: str
) -> None:
    (tmp_path / "out").write_bytes(b"")
    # Root, as whom tests may run, may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path / locked)
    with pytest.raises(UsageError) as refusal:
        check_writable(tmp_path / "out")
    assert str(refusal.value).endswith(f": {trouble.format(tmp_path)}")


# --- stdout and stdin ---


def test_stdout_gets_bytes_and_text_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    received = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(received))
    print("printed before")  # noqa: T201
    deliver("-", b"PAR1\0\xff\r\n")
    deliver("-", "σ\n")
    assert received.getvalue() == b"printed before\nPAR1\0\xff\r\n\xcf\x83\n"


def test_a_terminal_gets_text_but_nothing_binary(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    check_writable("-")
    deliver("-", "σ")
    sentence = "^a terminal cannot show binary data; name a file instead of -, or pipe it$"
    with pytest.raises(UsageError, match=sentence):
        check_writable("-", binary=True)
    for data in (b"PAR1\0", b"\x89PNG"):
        with pytest.raises(UsageError, match=sentence):
            deliver("-", data)
    assert capsysbinary.readouterr().out == "σ".encode()


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_full_stdout_is_said(size: int) -> None:
    code = f"import os; from initscope.files import deliver\ntry: deliver('-', 'x' * {size})\n"
    code += "except Exception as error: os.write(2, repr(error).encode()); os._exit(0)"
    command, root = [sys.executable, "-c", code], Path(__file__).parents[1]
    with Path("/dev/full").open("wb") as full:
        said = subprocess.run(
            command, cwd=root, stdout=full, stderr=subprocess.PIPE, check=True
        ).stderr
    assert said == b"MeasurementError('could not write to stdout: No space left on device')"


def test_a_reader_that_left_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    raw = io.FileIO(writing, "w")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw)))
    with pytest.raises(BrokenPipeError):
        deliver("-", "x")
    raw.close()


def test_stdin_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\0\xff")))
    assert read("-") == b"\0\xff"


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        ("gone", "there is no such file"),
        ("", "it is a folder; name a file in it"),
        (LONG, "File name too long"),
        ("nul\0", "embedded null byte"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, trouble: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read(tmp_path / name)
    assert str(refusal.value) == f"cannot read {tmp_path / name}: {trouble}"
