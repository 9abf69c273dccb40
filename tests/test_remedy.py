"""Remedies: each that is named was measured to help, and where none did none is named."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from initscope import judge, remedy
from initscope.config import GPTConfig
from initscope.decide import Decided, decide
from initscope.growth import depth_exponent, exponent
from initscope.notation import number
from initscope.options import Options
from initscope.remedy import CHANGES, with_remedy
from initscope.rules import Draw, Rule, Site, get_rule
from initscope.rules.variants import quiet_head, residual_scaled
from initscope.verdict import Level, Status, Verdict
from laws import EMBED, GROWTH, PLAIN, STACK, altered, judged, measured, on, stack
from samples import finding, verdict

WIDE: dict[str, Any] = {**PLAIN, "n_embd": 128}
FORWARD: dict[str, Any] = {"forward_only": True}
ONE: dict[str, Any] = {"seeds": 1, "depth_law": False, "forward_only": True}


def options(**fields: Any) -> Options:
    return Options(**{"seeds": 3, "seq_len": 32, "device": "cpu", **fields})


def measure(rule: str | Rule, shape: dict[str, Any], **fields: Any) -> Decided:
    return decide(GPTConfig(**shape), rule, options(**fields), judge)


def treated(rule: str | Rule, shape: dict[str, Any], **fields: Any) -> Verdict:
    """Judge a rule as a check does, with a remedy if there is one."""
    found = measure(rule, shape, **fields)
    return with_remedy(found.verdict, rule, found.profile.config, options(**fields))


def exponents(decided: Decided) -> list[str]:
    """Write the exponents as a sentence gives them: forward, then backward where measured."""
    found = [depth_exponent(decided.profile, way) for way in ("forward", "backward")]
    return [exponent(one.value) for one in found if one is not None]


# --- what is named was measured ---


def test_scaling_the_residual_weights_mends_the_unscaled_rule() -> None:
    flat = measure("nanogpt-flat", WIDE)
    said = with_remedy(flat.verdict, "nanogpt-flat", flat.profile.config, options()).remedy
    again = measure(residual_scaled(get_rule("nanogpt-flat")), WIDE)
    (depth, gradient), (depth_after, gradient_after) = exponents(flat), exponents(again)
    assert said == (
        "std of attn_out 0.0200 → 0.00500, mlp_down 0.0200 → 0.00500 (÷ √(2·8)): "
        f"depth-exponent {depth} → {depth_after}; gradient-exponent {gradient} → {gradient_after} "
        "(measured at width 128, 8 layers)"
    )
    assert float(depth) > 0.5 > abs(float(depth_after))
    assert "-0.00" not in said


def test_scaling_the_residual_weights_mends_xavier() -> None:
    said = treated("xavier", PLAIN, **FORWARD).remedy
    std = math.sqrt(2 / (64 + 256))
    assert f"mlp_down {std:.4f} → {std / 4:.4f} (÷ √(2·8))" in said
    match = re.search(r": depth-exponent (\S+) → (\S+) \(measured at width 64, 8 layers\)$", said)
    assert match is not None
    rules = [get_rule("xavier"), residual_scaled(get_rule("xavier"))]
    for printed, rule in zip(match.groups(), rules, strict=True):
        assert [printed] == exponents(measure(rule, PLAIN, **FORWARD))
    assert float(match[1]) > 1
    assert abs(float(match[2])) < 0.5


def test_a_hot_head_is_made_quiet() -> None:
    said = treated("torch", PLAIN, **ONE).remedy
    match = re.fullmatch(
        r"std of wte 1\.00 → 0\.0625 \(0\.5/√n_embd\): initial-loss (\S+) → (\S+) "
        r"\(measured at width 64, 8 layers\)",
        said,
    )
    assert match is not None
    rules = [get_rule("torch"), quiet_head(get_rule("torch"))]
    for printed, rule in zip(match.groups(), rules, strict=True):
        profile = measure(rule, PLAIN, **ONE).profile
        excess = profile.select("loss", "forward", "loss_excess").to_numpy()[0, 0]
        assert float(printed) == pytest.approx(excess, rel=0.01)
    assert float(match[2]) < 0.5


def test_an_overflow_is_mended() -> None:
    said = treated(stack(1e20, EMBED), {**STACK, "norm": "none"}, **ONE).remedy
    assert said.startswith("--norm pre: non-finite mended")


# --- what is not measured to help is not named ---


def test_none_where_nothing_helps() -> None:
    """A skip of more than 1 explodes whatever the weights are, and behind a norm too."""
    verdict = treated(stack(0, EMBED, skip=1.4), {**STACK, "norm": "none"}, seeds=1)
    assert verdict.broken
    assert verdict.remedy == ""
    assert verdict.lines == [verdict.headline, f"reason: {verdict.reason}"]


@pytest.mark.parametrize("name", ["scaled", "repeated", "dead"])
def test_none_where_nothing_that_grows_is_broken(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remedy, "decide", lambda *_, **__: pytest.fail("measured"))
    found = judged(name)
    assert with_remedy(found, "nanogpt", measured(name).config, options()) is found


def test_a_warning_asks_for_no_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remedy, "decide", lambda *_, **__: pytest.fail("measured"))
    mild = dict.fromkeys(["depth-exponent", "gradient-exponent"], Level.WARN)
    found = judge(measured("flat"), levels=mild)
    assert with_remedy(found, "nanogpt-flat", measured("flat").config, options()) is found


@pytest.mark.parametrize(
    ("rule", "norm", "tried"),
    [
        ("nanogpt-flat", "pre", [0]),  # its head is quiet and its norm comes first: once is enough
        ("nanogpt-flat", "post", [0, 3, 4]),
        ("torch", "pre", [0, 2]),
        (altered("nanogpt", on("attn_out mlp_down", 0)), "pre", []),
    ],
)
def test_what_the_model_has_already_is_not_tried(
    rule: str | Rule, norm: Any, tried: list[int]
) -> None:
    config = GPTConfig(**PLAIN, norm=norm)
    wanted = frozenset({"depth-exponent"})
    trials = remedy._trials(wanted, get_rule(rule), config)
    assert [CHANGES.index(trial.change) for trial in trials] == tried
    assert not list(remedy._trials(frozenset(), get_rule(rule), config))


# --- what counts as mended ---


def state(**statuses: Status) -> Verdict:
    found = (finding("X", what, name=name.replace("_", "-")) for name, what in statuses.items())
    return verdict(*found)


B, K, I, N = Status.BROKEN, Status.KEPT, Status.INCONCLUSIVE, Status.NOT_MEASURED  # noqa: E741


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ({"depth_exponent": B}, {"depth_exponent": K}, set()),
        ({"depth_exponent": B}, {"depth_exponent": I}, {"depth-exponent"}),
        ({"depth_exponent": B}, {"depth_exponent": N}, {"depth-exponent"}),
        ({"depth_exponent": B}, {"depth_exponent": K, "non_finite": B}, {"non-finite"}),
        (
            {"depth_exponent": B, "gradient_exponent": K},
            {"depth_exponent": K, "gradient_exponent": I},
            {"gradient-exponent"},
        ),
        (
            {"depth_exponent": B, "gradient_exponent": I},
            {"depth_exponent": K, "gradient_exponent": I},
            set(),
        ),
        (
            {"depth_exponent": B, "gradient_exponent": I},
            {"depth_exponent": K, "gradient_exponent": B},
            {"gradient-exponent"},
        ),
        ({"depth_exponent": B}, {"depth_exponent": K, "rank_collapse": B}, set()),
    ],
)
def test_mended_is_kept_and_nothing_of_its_kind_wrong_instead(
    before: dict[str, Status], after: dict[str, Status], wrong: set[str]
) -> None:
    wanted = frozenset({"depth-exponent"})
    assert remedy._remaining(state(**before), state(**after), wanted) == wrong


# --- a narrow model stands for a wide one only if it shows the same ---


NO_NORM: dict[str, Any] = {**STACK, "n_embd": 96, "norm": "none"}


def fixed(site: Site) -> Draw:
    """Give each matrix the std that doubles the stream at width 96, and hardly moves it at 32."""
    wide = dataclasses.replace(site, fan_in={32: 96, 128: 384}.get(site.fan_in, site.fan_in))
    return stack(GROWTH, EMBED).draw(wide)


def test_a_narrow_model_is_tried_where_it_shows_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remedy, "PROBE_WIDTH", 32)
    said = treated(stack(GROWTH, EMBED), NO_NORM, **ONE).remedy
    narrow = measure(stack(GROWTH, EMBED), {**NO_NORM, "n_embd": 32}, **ONE)
    (stream,) = (one for one in narrow.verdict.findings if one.name == "exponential-stream")
    assert f": exponential-stream {number(stream.value)} → " in said
    assert said.endswith("(measured at width 32, 8 layers)")
    std = math.sqrt(GROWTH / (4 * 96))
    assert f"std of mlp_down {std:.4f} → {std / 4:.4f}" in said  # of the model that was asked for


def test_a_narrow_model_that_is_sound_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remedy, "PROBE_WIDTH", 32)
    rule = dataclasses.replace(stack(GROWTH, EMBED), draw=fixed)
    assert not measure(rule, {**NO_NORM, "n_embd": 32}, **ONE).verdict.broken
    said = treated(rule, NO_NORM, **ONE).remedy
    assert said.startswith("std of mlp_down")
    assert said.endswith("(measured at width 96, 8 layers)")
