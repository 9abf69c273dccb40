"""What all formats have in common, and those for people and programs: text and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import unicodedata
from collections.abc import Sequence
from typing import Any, NoReturn

import pytest

from initscope.errors import UsageError
from initscope.formats import FORMATS, Named, no_check_ran, overall, render
from initscope.verdict import Finding, Status, Verdict
from samples import (
    BROKEN,
    EVERY_KIND,
    INCONCLUSIVE,
    KEPT,
    NASTIEST,
    NASTY,
    TAMED,
    UNMEASURED,
    WARNED,
    broken,
    finding,
    verdict,
)

every_format = pytest.mark.parametrize("name", FORMATS)


# --- all formats ---


@every_format
def test_a_format_is_a_text_that_any_file_can_hold(name: str) -> None:
    output = render(EVERY_KIND, name)
    controls = {c for c in output if unicodedata.category(c) in {"Cc", "Cs", "Cn"}}
    assert controls == {"\n"}
    assert output.endswith("\n")
    assert not output.endswith("\n\n")
    assert output.encode().decode() == output


@every_format
def test_equal_verdicts_give_equal_output(name: str) -> None:
    def copied(check: Named) -> Named:
        findings = tuple(dataclasses.replace(one) for one in check.verdict.findings)
        return check._replace(verdict=dataclasses.replace(check.verdict, findings=findings))

    assert render([*map(copied, EVERY_KIND)], name) == render(EVERY_KIND, name)


@every_format
def test_what_is_broken_is_told_with_its_reason_and_remedy(name: str) -> None:
    output = render([BROKEN], name).replace("&#95;", "_")
    for said in ("wide: kaiming", "the exponent is inf", "mlp_act", "each block doubles", "divide"):
        assert said in output.replace("%3A", ":")


@every_format
@pytest.mark.parametrize("checks", [[], [UNMEASURED]])
def test_no_check_ran_is_said(name: str, checks: Sequence[Named]) -> None:
    said = {"json": '\n  "status": "not measured"'}.get(name, "no check ran")
    assert said in render(checks, name)
    assert said not in render([*checks, INCONCLUSIVE], name)


@every_format
def test_a_verdict_without_a_name_is_called_by_rule_and_depth(name: str) -> None:
    named = Named("nanogpt, 8 layers", KEPT.verdict)
    assert render([KEPT.verdict], name) == render([named], name)


def test_an_unknown_format_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="unknown format 'jnuit': did you mean 'junit'"):
        render([KEPT], "jnuit")


# --- status ---


@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ([], Status.NOT_MEASURED),
        ([KEPT, WARNED], Status.KEPT),
        ([KEPT, UNMEASURED], Status.NOT_MEASURED),
        ([UNMEASURED, INCONCLUSIVE, KEPT], Status.INCONCLUSIVE),
        ([INCONCLUSIVE, BROKEN, UNMEASURED], Status.BROKEN),
        ([Named("empty", verdict())], Status.NOT_MEASURED),
    ],
)
def test_all_checks_amount_to_the_gravest(checks: list[Named], status: Status) -> None:
    assert overall(checks) is status


def test_a_check_ran_if_anything_was_measured() -> None:
    assert no_check_ran([])
    assert no_check_ran([UNMEASURED])
    assert not no_check_ran([UNMEASURED, BROKEN])


# --- text ---


def test_text_has_a_line_a_check_then_details_then_the_count() -> None:
    assert render([KEPT, BROKEN, INCONCLUSIVE, WARNED, UNMEASURED], "text") == (
        """\
KEPT          pretrain: nanogpt, 48 layers
BROKEN        wide: kaiming
INCONCLUSIVE  one seed
KEPT          warned
NOT MEASURED  forward only

wide: kaiming
  kaiming, 8 layers: forward explodes, backward bounded, overflows (3 seeds)
  broken G1 check G1: the exponent is inf (layer 5, mlp_act)
  broken P1 check P1: P1 is broken (embedding, wte)
  broken P1 check P1: P1 is broken (head, logits)
  broken P2 check P2: P2 is broken (layer 3)
  reason: each block doubles the stream
  remedy: divide attn_out and mlp_down by sqrt(2·n_layer)

one seed
  nanogpt, 8 layers: forward bounded, backward bounded (one seed)
  inconclusive G2 check G2: α = 0.48 ± 0.30 straddles 0.5

warned
  nanogpt, 8 layers: forward bounded, backward bounded (3 seeds)
  warning W1 check W1: W1 is broken (loss)

forward only
  nanogpt, 8 layers: forward bounded, backward bounded (3 seeds)
  not measured: nothing that this check needs was recorded

2 kept, 1 broken, 1 inconclusive, 1 not measured, 1 warning
"""
    )


@pytest.mark.parametrize(
    ("checks", "count"),
    [
        ([KEPT] * 3 + [BROKEN], "3 kept, 1 broken"),
        ([WARNED, WARNED], "2 kept, 2 warnings"),
        ([], "no check ran"),
        ([UNMEASURED], "no check ran, 1 not measured"),
    ],
)
def test_text_ends_with_the_count(checks: list[Named], count: str) -> None:
    assert render(checks, "text").splitlines()[-1] == count


def test_text_of_what_is_kept_is_two_lines_and_a_blank_one() -> None:
    lines = render([KEPT], "text").splitlines()
    assert lines == ["KEPT          pretrain: nanogpt, 48 layers", "", "1 kept"]


def test_text_names_a_place_once() -> None:
    said = finding("G1", Status.BROKEN, message="it overflows at layer 3, q", layer=3, site="q")
    assert render([verdict(said)], "text").count("layer 3, q") == 1


def test_text_gives_no_advice_on_what_is_kept() -> None:
    kept = verdict(finding("G1", Status.KEPT), reason="the stream grows linearly")
    assert "reason" not in render([kept], "text")


def test_text_keeps_what_is_nasty_on_its_line() -> None:
    lines = render([NASTIEST], "text").splitlines()
    assert lines[0] == f"BROKEN        {TAMED}"
    assert f"  reason: because {TAMED}" in lines
    assert not [line for line in lines if line.lstrip().startswith("::")]


# --- JSON ---


def loaded(checks: Sequence[Named]) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return json.loads(render(checks, "json"), parse_constant=refuse)


def restored(saved: dict[str, Any]) -> Verdict:
    """Read a verdict back, to see that nothing is lost."""
    saved = {name: saved[name] for name in (field.name for field in dataclasses.fields(Verdict))}
    saved["findings"] = tuple(_finding(one) for one in saved["findings"])
    return Verdict(**{**saved, "traits": tuple(saved["traits"])})


def test_json_holds_everything_in_the_verdicts() -> None:
    document = loaded(EVERY_KIND)
    assert document["schema"] == 1
    assert document["status"] == "broken"
    assert document["generator"].startswith("initscope ")
    for check, saved in zip(EVERY_KIND, document["checks"], strict=True):
        assert (saved["name"], saved["status"]) == (check.name, check.status)
        assert saved["headline"] == check.verdict.headline
        # repr: NaN is not equal to itself.
        assert repr(_plain(restored(saved))) == repr(_plain(check.verdict))


def _finding(saved: dict[str, Any]) -> Finding:
    lost = {name: float(spelt) for name, spelt in saved.pop("non_finite", {}).items()}
    return Finding(**{**saved, **lost})


def _plain(verdict: Verdict) -> object:
    return json.loads(json.dumps(dataclasses.asdict(verdict)))


def test_json_has_null_for_what_is_no_number_and_says_what_it_was() -> None:
    infinite, negative, *_ = loaded([BROKEN])["checks"][0]["findings"]
    assert (infinite["value"], infinite["error"], infinite["bound"]) == (None, None, 0.5)
    assert infinite["non_finite"] == {"value": "inf", "error": "nan"}
    assert negative["non_finite"] == {"value": "-inf"}
    absent = loaded([INCONCLUSIVE])["checks"][0]["findings"][0]
    assert absent["value"] is None
    assert "non_finite" not in absent


def test_json_keeps_a_name_as_it_is() -> None:
    assert loaded([NASTIEST])["checks"][0]["name"] == NASTY


def test_json_of_no_check() -> None:
    document = loaded([])
    assert (document["status"], document["checks"]) == ("not measured", [])


def test_the_samples_are_of_every_kind() -> None:
    findings = [one for check in EVERY_KIND for one in check.verdict.findings]
    assert {one.status for one in findings} == set(Status)
    assert {check.status for check in EVERY_KIND} == set(Status)
    assert any(one.value is not None and not math.isfinite(one.value) for one in findings)
    assert broken("two", "A", "B").verdict.findings[1] == finding("B", Status.BROKEN)
