"""initscope rules: the catalogue as a table and as JSON."""

from __future__ import annotations

import json

import pytest

from initscope.cli import main
from initscope.rules import RULES, get_rule
from initscope.table.catalogue import architecture, depth_scaled, rules_report
from printing import printed


def words(text: str) -> str:
    """Join what a terminal has wrapped; a break may be inside a word that is too long."""
    return "".join(text.split())


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_every_rule_is_listed_and_fits(width: int, encoding: str) -> None:
    text = printed(rules_report(list(RULES.values())), width=width, encoding=encoding)
    assert max(map(len, text.splitlines())) <= width
    names = [line.split()[0] for line in text.splitlines() if line[:1].strip()]
    assert names == ["rule", *RULES]


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut(width: int) -> None:
    text = words(printed(rules_report(list(RULES.values())), width=width))
    for rule in RULES.values():
        for part in (rule.summary, rule.source, architecture(rule)):
            assert all(words(word) in text for word in part.split())


def test_architecture_in_words() -> None:
    assert architecture(get_rule("nanogpt")) == ""
    assert architecture(get_rule("mingpt")) == "activation gelu_tanh · bias yes · tied no"


@pytest.mark.parametrize(
    ("rule", "scaled"),
    [
        ("nanogpt", ("weights",)),
        ("nanogpt-flat", ()),
        ("torchtitan-llama3", ("weights",)),
        ("deepnorm", ("weights", "multipliers")),
        ("completep", ("multipliers",)),
        ("layerscale", ()),
    ],
)
def test_what_depends_on_the_depth(rule: str, scaled: tuple[str, ...]) -> None:
    assert depth_scaled(get_rule(rule)) == scaled


def test_the_command_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(f"\n{rule} " in out for rule in RULES)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == ""
    assert document["schema"] == 1
    assert [entry["name"] for entry in document["rules"]] == list(RULES)
    (deepnorm,) = (entry for entry in document["rules"] if entry["name"] == "deepnorm")
    assert deepnorm == {
        "name": "deepnorm",
        "summary": get_rule("deepnorm").summary,
        "architecture": {"norm": "post"},
        "depth_scaled": ["weights", "multipliers"],
        "source": get_rule("deepnorm").source,
    }
