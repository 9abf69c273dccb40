"""JUnit XML: valid for what reads it, and a case a finding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema

from initscope.formats import Named, render
from samples import (
    BROKEN,
    INCONCLUSIVE,
    KEPT,
    NASTIEST,
    SELECTIONS,
    TAMED,
    UNMEASURED,
    WARNED,
    broken,
    verdict,
)

JUNIT = xmlschema.XMLSchema(Path(__file__).parent / "data" / "junit.xsd")

every_selection = pytest.mark.parametrize("checks", SELECTIONS)


def suites(checks: Sequence[Named]) -> list[ET.Element]:
    return list(ET.fromstring(render(checks, "junit").encode()))  # noqa: S314 - our own


def outcomes(suite: ET.Element) -> dict[str, list[str]]:
    """Say what became of each test case: nothing if it passed."""
    return {case.get("name", ""): [one.tag for one in case] for case in suite.iter("testcase")}


@every_selection
def test_junit_is_valid(checks: list[Named]) -> None:
    JUNIT.validate(render(checks, "junit"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (' time="0"', ""),
        ('tests="1"', 'tests="one"'),
        ("<properties>", "<system-out />\n<properties>"),
        ("1970-01-01T00:00:00", "1970-01-01"),
        ("</testcase>", "<skipped /></testcase>"),
        ('type="broken"', ""),
    ],
)
def test_junit_would_not_be_valid(old: str, new: str) -> None:
    output = render([broken("one")], "junit")
    assert not JUNIT.is_valid(output.replace(old, new, 1)), "or the schema demands nothing"
    assert old in output


def test_junit_has_a_suite_a_check_and_a_case_a_finding() -> None:
    kept, wide, single, warned = suites([KEPT, BROKEN, INCONCLUSIVE, WARNED])
    assert (kept.get("name"), outcomes(kept)) == (KEPT.name, {"G1 check G1": []})
    assert outcomes(wide) == {
        "G1 check G1": ["failure"], "P1 check P1": ["failure"], "P1 check P1 [2]": ["failure"],
        "P2 check P2": ["failure"], "A1 check A1": [],
    }  # fmt: skip
    assert outcomes(single) == {"G2 check G2": ["failure"], "W2 check W2": []}
    assert outcomes(warned) == {"G1 check G1": [], "W1 check W1": [], "N1 check N1": ["skipped"]}


def test_junit_says_what_failed_and_why() -> None:
    wide, single = suites([BROKEN, INCONCLUSIVE])
    failure, doubt = wide.find("testcase/failure"), single.find("testcase/failure")
    assert failure is not None
    assert doubt is not None
    assert failure.attrib == {"type": "broken", "message": "the exponent is inf"}
    assert (failure.text or "").splitlines() == [
        "the exponent is inf (layer 5, mlp_act)",
        "reason: each block doubles the stream",
        "remedy: divide attn_out and mlp_down by sqrt(2·n_layer)",
    ]
    assert doubt.get("type") == "inconclusive"


def test_junit_writes_warnings_to_the_output() -> None:
    (warned,) = suites([WARNED])
    assert "warning W1 check W1: W1 is broken (loss)" in warned.findtext("system-out", "")


@every_selection
def test_junit_counts_its_cases(checks: list[Named]) -> None:
    for suite in suites(checks):
        found = outcomes(suite).values()
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(name) == str(sum(tag in one for one in found))
        assert suite.get("tests") == str(len(found))


@pytest.mark.parametrize("checks", [[], [UNMEASURED], [Named("empty", verdict())]])
def test_junit_without_a_check_is_an_error(checks: list[Named]) -> None:
    error = suites(checks)[-1].find("testcase/error")
    assert error is not None
    assert error.get("message") == "no check ran"


def test_junit_keeps_nasty_texts() -> None:
    (suite,) = suites([NASTIEST])
    assert suite.get("name") == TAMED
    assert f"reason: because {TAMED}" in suite.findtext("testcase/failure", "").splitlines()
