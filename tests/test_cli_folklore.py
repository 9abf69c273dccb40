"""initscope explain nanogpt --folklore: the claims as the command prints them."""

from __future__ import annotations

import json

import pytest

from command_line import Command
from initscope.folklore import CLAIMS, Row, Truth


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
