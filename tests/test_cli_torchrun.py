"""Started several times by torchrun, the command line writes nothing, and says so once."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import TINY, contents, in_process


@pytest.mark.parametrize(("rank", "said"), [("0", "torchrun started 2 of it"), ("1", "")])
def test_it_is_refused(
    rank: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = in_process(tmp_path, monkeypatch, capsys)
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("WORLD_SIZE", "2"), ("RANK", rank)):
        monkeypatch.setenv(name, value)
    end = run("inspect", *TINY, "--json", "profile.json")
    assert end.code == 2
    assert said in end.err
    assert bool(end.err) == bool(said)
    assert contents(tmp_path) == []


@pytest.mark.parametrize("names", [("TORCHELASTIC_RUN_ID",), ("WORLD_SIZE", "RANK")], ids=str)
def test_one_worker_alone_or_a_cluster_that_sets_names_of_its_own_is_not(
    names: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = in_process(tmp_path, monkeypatch, capsys)
    for name in names:
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("WORLD_SIZE", "1" if len(names) == 1 else "8")
    assert run("rules").code == 0
