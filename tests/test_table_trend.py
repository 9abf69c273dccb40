"""A training run over its steps: the table, and what the command shows of a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

import synthetic
from command_line import in_process
from initscope.digest import continued, is_run
from initscope.judging import judge
from initscope.profile import Profile
from initscope.store import encode, load
from initscope.table import trend_report
from printing import body, header, note, printed


def step(number: int, *, start: float = 8e-4, overflow: bool = False) -> Profile:
    lost = (2, "mlp_act") if overflow else None
    profile = synthetic.profile("own", n_layer=4, start=start, overflow=lost)
    return dataclasses.replace(
        profile, run=dataclasses.replace(profile.run, step=number, model="GPT")
    )


def report(profiles: list[Profile], width: int = 160, **how: bool) -> str:
    verdicts = [judge(profile, since=profiles[0]) for profile in profiles]
    return printed(trend_report(profiles, verdicts, **how), width=width)


def rows(text: str) -> list[list[str]]:
    return body(text.partition("\n\nown\n")[0] + "\n\n")


def test_a_row_a_step_and_the_last_profile_below() -> None:
    run = [step(number, start=start) for number, start in ((0, 1e-3), (50, 1e-2), (100, 10.0))]
    text = report(run)
    assert text.startswith("GPT: 3 profiles, steps 0 to 100\n")
    assert [row[0] for row in rows(text)] == ["0", "50", "100"]
    for row, profile in zip(rows(text), run, strict=True):
        last = synthetic.value(profile, "resid_post", "variance", 3)
        assert float(row[2]) == pytest.approx(last, rel=5e-3)
        assert float(row[1]) == pytest.approx(6.27, abs=0.01)  # ln 512 + 1/32
        assert row[-1] == "nothing"
    bars = [len(row[3]) for row in rows(text)]
    assert bars == sorted(bars)
    assert "step 100" in text.partition("\n\nown\n")[2]
    assert text.rstrip().endswith("(step 100)")
    assert header(text.partition("\n\nown\n")[0]).startswith("final")


def test_what_breaks_is_named_and_shown_whatever_is_left_out() -> None:
    run = [step(number, start=1e4 if number == 77 else 1e-3) for number in range(100)]
    run[-1] = step(99, overflow=True)
    text = report(run)
    shown = {int(row[0]): row[-1] for row in rows(text)}
    assert shown[77] == "stream-growth"
    assert shown[99].startswith("non-finite")
    assert {0, 77, 99} <= shown.keys()
    assert len(shown) < 25
    assert "of 100, with those that something broke at" in note(text, "rows")
    assert len(rows(report(run, all_layers=True))) == 100


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_terminal_keeps_step_variance_and_what_broke(width: int) -> None:
    text = report([step(0), step(1)], width=width)
    assert max(map(len, text.splitlines())) <= max(width, 36)
    first, *_ = rows(text)
    assert first[0] == "0"
    assert first[-1].startswith("not")


def test_a_forward_only_run_has_no_gradient_columns() -> None:
    run = [step(0), step(1)]
    forward = [synthetic.with_table(p, p.table[p.table["direction"] == "forward"]) for p in run]
    assert "gradient" not in header(report(forward).partition("\n\nown\n")[0])


def test_a_resumed_run_supersedes_what_it_goes_over_again() -> None:
    run = [step(number) for number in (0, 10, 20, 30)]
    again = [step(number, start=1.0) for number in (20, 30)]
    assert continued([*run, *again]) == [*run[:2], *again]
    assert is_run(run)
    assert not is_run(run[:1])
    assert not is_run([*run, synthetic.profile()])


def test_show_tells_a_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [step(number) for number in (0, 10, 20, 10)]
    (tmp_path / "run.jsonl").write_bytes(encode(run, "jsonl") + b'{"schema":1,"gen')
    (tmp_path / "other.json").write_bytes(encode([synthetic.profile("nanogpt")], "json"))
    show = in_process(tmp_path, monkeypatch, capsys)
    alone = show("show", "run.jsonl", "--csv", "run.csv", "--plot", "run.png")
    assert alone.code == 0, alone.err
    assert alone.out.startswith("GPT: 2 profiles, steps 0 to 10\n")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(tmp_path / "run.csv")
    assert table["step"].value_counts().to_dict() == dict.fromkeys((0, 10), len(run[0].table))
    both = show("show", "run.jsonl", "other.json")
    assert both.code == 0, both.err
    assert [row[0] for row in body(both.out)] == ["own", "nanogpt"]
    assert load(tmp_path / "run.jsonl")[1].run.step == 10
