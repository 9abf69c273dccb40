"""What fails says so in one sentence, ends in its own exit code, and leaves nothing behind."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from command_line import TINY, Command, contents, run, start
from initscope.store import encode
from synthetic import profile


def save(folder: Path, n_layer: int = 4) -> str:
    (folder / "run.json").write_bytes(encode([profile(n_layer=n_layer)], "json"))
    return "run.json"


# --- files that cannot be written ---


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, cli: Command) -> None:
    saved = save(tmp_path)
    (tmp_path / "copy.json").write_text("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        outcome = cli("show", saved, "--json", "copy.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.code == 3
    assert outcome.err == "initscope: error: could not write copy.json: File too large\n"
    assert contents(tmp_path) == ["copy.json", saved]
    assert (tmp_path / "copy.json").read_text() == "before"


def test_a_full_stdout(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        outcome = run(tmp_path, "show", save(tmp_path), stdout=full)
    assert outcome.code == 3
    assert outcome.err.startswith("initscope: error: could not write to stdout: No space left")


def test_a_full_stderr_does_not_stop_it(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> NoReturn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for stderr in (Full(), None):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            outcome = cli("inspect", *TINY, "--no-remedy", "--no-depth-law")
        assert (outcome.code, outcome.out[:8]) == (0, "nanogpt\n")


# --- what ends it early ---


def test_ctrl_c_ends_it_at_once_without_a_word(tmp_path: Path) -> None:
    deep = ("--n-layer", "400", "--n-embd", "256", "--no-depth-law", "--json", "run.json")
    with start(tmp_path, "inspect", *TINY, *deep) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("measuring on ")
        time.sleep(0.5)
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "", "")
    assert time.monotonic() - pressed < 10
    assert contents(tmp_path) == []


def test_a_reader_that_never_came(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    outcome = run(tmp_path, "show", save(tmp_path), stdout=writer)
    os.close(writer)
    assert (outcome.code, outcome.err) == (141, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])  # unbuffered, a write may end half-way
def test_a_reader_that_leaves_after_a_line(tmp_path: Path, unbuffered: str) -> None:
    command = ("show", save(tmp_path, n_layer=300), "--csv", "-")
    with start(tmp_path, *command, env={"PYTHONUNBUFFERED": unbuffered}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("rule,")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


# --- what should not happen ---


@pytest.mark.parametrize("command", ["inspect", "compare nanogpt", "check"])
def test_a_bug_is_never_a_verdict(
    cli: Command, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("initscope.sweep.measure", fail)
    outcome = cli(*command.split(), *TINY)
    assert (outcome.code, outcome.out) == (3, "")
    assert "initscope: error: ZeroDivisionError: on purpose (a bug" in outcome.err
    assert "Traceback" not in outcome.err
    monkeypatch.setenv("INITSCOPE_DEBUG", "1")
    outcome = cli(*command.split(), *TINY)
    assert outcome.code == 3
    assert "Traceback (most recent call last)" in outcome.err
    assert "in fail\n" in outcome.err
