"""initscope explain nanogpt --folklore: the claims as the command prints them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Command, in_process
from initscope.folklore import CLAIMS, Row, Truth


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return in_process(tmp_path, monkeypatch, capsys)


def test_folklore_is_told_claim_by_claim(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [Row(claim, Truth.PARTLY, "a `std` of 2") for claim in CLAIMS]
    monkeypatch.setattr("initscope.folklore.folklore_report", lambda **_: answers)
    text = cli("explain", "nanogpt", "--folklore").out
    for claim in CLAIMS:
        assert claim.text in text
    assert text.count("partly") >= len(CLAIMS)
    assert "measured  a std of 2" in text
    claims = json.loads(cli("explain", "nanogpt", "--folklore", "--json").out)["claims"]
    assert [claim["verdict"] for claim in claims] == ["partly"] * len(CLAIMS)
    assert claims[0]["command"] == CLAIMS[0].command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["xavier", "--folklore"], "--folklore is about nanogpt, not xavier"),
        (["nanogpt", "--folklore", "--n-layer", "3"], "takes no --n-layer"),
    ],
)
def test_folklore_is_nanogpt_s(cli: Command, arguments: list[str], message: str) -> None:
    outcome = cli("explain", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
