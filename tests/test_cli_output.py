"""What goes where: the result to stdout and files, whole; everything else to stderr."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

import pytest

from command_line import TINY, Command, contents, run, start
from initscope.store import encode, load
from synthetic import exploding, profile

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")
QUICK = (*TINY, "--device", "cpu", "--no-depth-law")
SAID = "measuring on cpu (asked for), float32\n"
HEADER = "rule,n_layer,seed,layer,site,direction,statistic,value"

# Runs commands where torch is out of reach, and fails with the first that does.
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from initscope.cli import main
for words in sys.argv[1:]:
    if code := main(words.split()):
        sys.exit(code)
"""


def save(folder: Path, name: str = "run.json", n_layer: int = 4) -> str:
    (folder / name).write_bytes(encode([profile(n_layer=n_layer)], "json"))
    return name


# --- stdout and stderr ---


def test_a_pipe_gets_the_table_alone_and_plain(tmp_path: Path, cli: Command) -> None:
    piped = run(tmp_path, "inspect", *QUICK, "--no-remedy")
    assert (piped.code, piped.err) == (0, SAID)
    assert piped.out.startswith("nanogpt\n2 layers · width 32 ·")
    assert "\x1b" not in piped.out
    assert piped.out == cli("inspect", *QUICK, "--no-remedy").out


def test_colors_follow_the_environment(
    tmp_path: Path, cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = save(tmp_path)
    plain = cli("show", name).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    colored = cli("show", name).out
    assert COLOR.search(colored)
    monkeypatch.setenv("NO_COLOR", "1")
    bold = cli("show", name).out
    assert "\x1b[1m" in bold
    assert not COLOR.search(bold)
    assert {ESCAPE.sub("", text) for text in (colored, bold)} == {plain}


def test_a_log_with_colors_has_no_progress_bar(
    cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = cli("inspect", *QUICK, "--no-remedy")
    assert outcome.err == SAID
    assert COLOR.search(outcome.out)


def seen_on_terminal(folder: Path, *arguments: str) -> tuple[str, str]:
    """Run a command with stderr on a terminal; return stdout and what the terminal was sent."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    sent = b""
    with start(folder, *arguments, stderr=terminal, env={"TERM": "xterm"}) as process:
        os.close(terminal)
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while more := os.read(master, 65536):
                sent += more
        out, _ = process.communicate()
    os.close(master)
    return out, sent.decode()


def test_a_terminal_shows_progress_and_is_left_clean(tmp_path: Path) -> None:
    out, sent = seen_on_terminal(tmp_path, "inspect", *QUICK, "--n-layer", "120", "--no-remedy")
    bar = r"nanogpt, (forward|backward) ━.+ \d+/240 blocks \d:\d\d:\d\d"
    assert re.search(bar, ESCAPE.sub("", sent))
    assert SAID.strip() in sent
    assert sent.rstrip().endswith("\x1b[2K"), "the bar is erased"
    assert "\x1b[?25h" in sent, "the cursor is back"
    assert out.startswith("nanogpt\n120 layers")


# --- data ---


def test_json_on_stdout_is_json_alone(cli: Command) -> None:
    outcome = cli("inspect", *QUICK, "--json", "-")
    assert outcome.err == SAID
    document = json.loads(outcome.out)
    assert isinstance(document["schema"], int)
    Path("run.json").write_text(outcome.out)
    assert load("run.json")[0].config.n_embd == 32


def test_csv_on_stdout_is_the_long_table_alone(cli: Command) -> None:
    outcome = cli("inspect", *QUICK, "--csv", "-", "--parquet", "run.parquet")
    header, *rows = outcome.out.splitlines()
    assert header == HEADER
    table = load("run.parquet")[0].table
    read = list(csv.reader(rows))
    assert len(read) == len(table) > 100
    assert [repr(float(row[-1])) for row in read] == [repr(value) for value in table["value"]]
    assert [",".join(row[:4]) for row in read[:2]] == ["nanogpt,2,0,-1", "nanogpt,2,0,-1"]


def test_one_run_fills_several_files_and_shows_the_table(tmp_path: Path, cli: Command) -> None:
    (tmp_path / "run.json").write_text("what was there before")
    files = ("--json", "run.json", "--csv", "run.csv", "--parquet", "run.parquet")
    outcome = cli("compare", "nanogpt", "xavier", *QUICK, *files, "--plot", "run.svg")
    assert outcome.code == 0
    assert "xavier" in outcome.out
    assert contents(tmp_path) == ["run.csv", "run.json", "run.parquet", "run.svg"]
    by_rule = [profile.rule for name in ("run.json", "run.parquet") for profile in load(name)]
    assert by_rule == ["nanogpt", "xavier"] * 2
    rows = sum(len(profile.table) for profile in load("run.json"))
    assert len((tmp_path / "run.csv").read_text().splitlines()) == rows + 1
    figure = (tmp_path / "run.svg").read_bytes()
    assert (figure[:5], figure.rstrip()[-6:]) == (b"<?xml", b"</svg>")


@pytest.mark.parametrize("command", ["inspect --no-remedy --seeds 2", "compare nanogpt xavier"])
def test_what_is_saved_is_shown_as_it_was(cli: Command, command: str) -> None:
    first = cli(*command.split(), *QUICK, "--json", "run.json", "--parquet", "run.parquet")
    assert first.code == 0
    for name in ("run.json", "run.parquet"):
        assert cli("show", name) == (0, first.out, "")


def test_a_saved_profile_may_come_through_a_pipe(
    tmp_path: Path, cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = save(tmp_path)
    piped = io.BytesIO((tmp_path / name).read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
    assert cli("show", "-").out == cli("show", name).out


def test_every_layer_only_when_asked(tmp_path: Path, cli: Command) -> None:
    name = save(tmp_path, n_layer=60)

    def layers(*flags: str) -> list[str]:
        return re.findall(r"^ +▲? ?(\d+)  ", cli("show", name, *flags).out, re.MULTILINE)

    assert layers("--all-layers") == [str(layer) for layer in range(60)]
    assert 5 < len(layers()) < 30


def test_saved_profiles_need_no_torch(tmp_path: Path) -> None:
    name = save(tmp_path)
    commands = [
        f"show {name} --parquet copy.parquet --csv all.csv",
        "show copy.parquet --json again.json",
        f"check {name} copy.parquet --select initial-loss --output junit=junit.xml",
        "inspect --help", "explain IS001",
    ]  # fmt: skip
    outcome = run(tmp_path, *commands, call=WITHOUT_TORCH)
    assert (outcome.code, outcome.err) == (0, "")
    first, second, *_ = outcome.out.split("nanogpt\n4 layers")[1:]
    assert first == second[: len(first)]
    assert {"all.csv", "copy.parquet", "again.json", "junit.xml"} <= {*contents(tmp_path)}
    # That torch was out of reach is seen where it is needed.
    needs = run(tmp_path, f"inspect {' '.join(QUICK)}", call=WITHOUT_TORCH)
    assert needs.code == 3
    assert "torch" in needs.err


# --- figures ---


@pytest.mark.parametrize(
    ("name", "magic", "end"),
    [
        ("figure.png", b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"),
        ("figure.pdf", b"%PDF-", b"%%EOF"),
    ],
)
def test_figures_are_what_their_names_say(
    tmp_path: Path, cli: Command, name: str, magic: bytes, end: bytes
) -> None:
    saved = tmp_path / "run.json"
    saved.write_bytes(encode([profile(n_layer=3), exploding()], "json"))
    assert cli("show", "run.json", "--plot", name).code == 0
    data = (tmp_path / name).read_bytes()
    assert data.startswith(magic)
    assert data.rstrip().endswith(end)
    assert len(data) > 10_000
    assert contents(tmp_path) == sorted([name, "run.json"])


def test_a_full_disk_does_not_take_the_table(tmp_path: Path, cli: Command) -> None:
    name = save(tmp_path)
    outcome = cli("show", name, "--json", "/dev/full")
    assert outcome.code == 3
    assert outcome.err == "initscope: error: could not write /dev/full: No space left on device\n"
    assert outcome.out == cli("show", name).out
