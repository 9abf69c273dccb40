"""SARIF: valid for code scanning, a result a fault, and the same alert for the same fault."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from initscope.formats import Named, render
from initscope.verdict import Level, Status
from samples import (
    BROKEN,
    EVERY_KIND,
    INCONCLUSIVE,
    KEPT,
    NASTIEST,
    NASTY,
    SELECTIONS,
    TAMED,
    UNMEASURED,
    WARNED,
    broken,
    finding,
    verdict,
)

SCHEMA = Path(__file__).parent / "data" / "sarif.schema.json"
SARIF = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))

every_selection = pytest.mark.parametrize("checks", SELECTIONS)


def log(checks: Sequence[Named]) -> Any:
    return json.loads(render(checks, "sarif"))


def run(checks: Sequence[Named]) -> Any:
    return log(checks)["runs"][0]


def results(*checks: Named) -> Any:
    return run(checks)["results"]


def fingerprints(*checks: Named) -> list[str]:
    return [one["partialFingerprints"]["primaryLocationLineHash"] for one in results(*checks)]


@every_selection
def test_sarif_is_valid(checks: list[Named]) -> None:
    SARIF.validate(log(checks))


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: run["results"][0].update(level="fatal"),
        lambda run: run["results"][0].update(file="x"),
        lambda run: run["results"][0].update(locations=[]),
        lambda run: run["tool"]["driver"]["rules"][0].pop("help"),
        lambda run: run["invocations"][0].clear(),
    ],
)
def test_sarif_would_not_be_valid(damage: Callable[[Any], object]) -> None:
    damaged = copy.deepcopy(log([BROKEN]))
    damage(damaged["runs"][0])
    assert not SARIF.is_valid(damaged), "or the schema demands nothing"


def test_sarif_has_a_rule_a_code() -> None:
    driver = run(EVERY_KIND)["tool"]["driver"]
    codes = {one.code for check in EVERY_KIND for one in check.verdict.findings}
    assert [rule["id"] for rule in driver["rules"]] == sorted(codes)
    rule = next(rule for rule in driver["rules"] if rule["id"] == "A1")
    assert (rule["name"], rule["shortDescription"]["text"]) == ("check A1", "A1 check A1")
    assert rule["helpUri"].endswith("/docs/checks.md#a1")
    for result in run(EVERY_KIND)["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_sarif_has_a_result_for_what_is_broken_or_undecided() -> None:
    levels = [(one["ruleId"], one["level"]) for one in results(KEPT, BROKEN, INCONCLUSIVE, WARNED)]
    assert levels == [
        ("G1", "error"), ("P1", "error"), ("P1", "error"), ("P2", "error"),
        ("G2", "warning"), ("W2", "note"), ("W1", "warning"),
    ]  # fmt: skip
    assert results(BROKEN)[0]["message"]["text"].splitlines() == [
        "wide: kaiming: the exponent is inf (layer 5, mlp_act)",
        "reason: each block doubles the stream",
        "remedy: divide attn_out and mlp_down by sqrt(2·n_layer)",
    ]


def test_sarif_names_the_layer_and_site() -> None:
    found = [one["locations"][0]["logicalLocations"] for one in results(BROKEN)]
    names = [name["fullyQualifiedName"] for (name,) in found]
    assert names == ["blocks.5.mlp_act", "wte", "logits", "blocks.3"]
    assert "logicalLocations" not in results(INCONCLUSIVE)[0]["locations"][0]


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("pyproject.toml", "pyproject.toml"),
        ("config/model checks.toml", "config/model%20checks.toml"),
        (r"config\é.toml", "config/%C3%A9.toml"),
    ],
)
def test_sarif_names_the_file_of_the_check(path: str, uri: str) -> None:
    (result,) = results(Named("one", broken("one").verdict, path))
    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": uri}


def test_sarif_fingerprints_tell_results_apart() -> None:
    found = fingerprints(*EVERY_KIND, broken("other"), broken("other"))
    assert len(found) == len(set(found)) == 10
    assert [one.split(":")[1] for one in found] == ["1", "1", "2", *"111111", "2"]


def test_sarif_fingerprints_stay_while_the_fault_does() -> None:
    worse = finding("G1", Status.BROKEN, level=Level.WARN, layer=7, site="q", message="moved")
    assert fingerprints(Named("one", verdict(worse))) == fingerprints(broken("one"))
    assert fingerprints(KEPT, broken("one")) == fingerprints(broken("one"))
    assert fingerprints(broken("one")) == ["2a33456ece43860a:1"], "old alerts would open anew"


def test_sarif_says_whether_anything_was_checked() -> None:
    (silent,) = run([UNMEASURED])["invocations"]
    (spoken,) = run([UNMEASURED, KEPT])["invocations"]
    assert (silent["executionSuccessful"], spoken["executionSuccessful"]) == (False, True)
    warning, error = silent["toolExecutionNotifications"]
    assert error == {"level": "error", "message": {"text": "no check ran"}}
    assert spoken["toolExecutionNotifications"] == [warning]
    assert warning["message"]["text"] == "forward only: nothing was measured"


def test_sarif_keeps_nasty_texts() -> None:
    (result,) = results(NASTIEST)
    assert result["message"]["text"].splitlines()[1] == f"reason: because {TAMED}"
    assert NASTY != TAMED
