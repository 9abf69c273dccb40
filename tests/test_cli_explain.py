"""initscope explain: a rule on a model, part by part, or a check."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from command_line import Command
from initscope.breakdown import factors, parts
from initscope.config import GPTConfig
from initscope.rules import RULES, Rule, config_for, get_rule
from initscope.sites import all_parameters
from initscope.table.breakdown import rule_report
from initscope.trial import Trial, trial
from printing import body, header, note, printed

SMALL = ("--n-layer", "6", "--n-embd", "64", "--vocab-size", "500", "--block-size", "128")


def explained(cli: Command, *arguments: str) -> dict[str, Any]:
    outcome = cli("explain", *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    return dict(json.loads(outcome.out))


def report(rule: str, width: int, encoding: str = "utf-8", **shape: Any) -> str:
    config = config_for(rule, **{"n_layer": 48, "n_embd": 64, "vocab_size": 500, **shape})
    return printed(rule_report(config, get_rule(rule), trial), width, encoding)


# --- what nanoGPT draws ---


def test_nanogpt_answers_the_usual_questions(cli: Command) -> None:
    outcome = cli("explain", "nanogpt", "--n-layer", "48", "--n-embd", "64", "--vocab-size", "500")
    rows = {row[0]: row for row in body(outcome.out)}
    assert (outcome.code, outcome.err) == (0, "")
    assert rows["wte"][1:4] == ["1", "500×64", "N(0, 0.02)"]
    assert rows["q, k, v"][1:5] == ["144", "64×64", "N(0, 0.02)", "0.0200"]
    for name, shape in (("attn_out", "64×64"), ("mlp_down", "64×256")):
        assert rows[name][1:5] == ["48", shape, "N(0, 0.02/sqrt(2·n_layer))", "0.00204"]
        assert rows[name][-1] == "writes to the stream"
    assert rows["mlp_up"][1:4] == ["48", "256×64", "N(0, 0.02)"]
    assert rows["head"][1:4] == ["tied", "500×64", "N(0, 0.02)"]
    assert rows["norm gain"][1:4] == ["97", "64", "1"]
    assert rows["norm bias"][1:4] == ["none", "64", "0"]
    assert rows["bias"][1:4] == ["none", "64, 256", "0"]
    assert "tied: it is the token embedding" in note(outcome.out, "head")
    assert "no norm bias and no bias" in note(outcome.out, "none")
    for fact in ("gelu", "pre-norm (layernorm)", "no biases", "nanoGPT's c_proj are attn_out"):
        assert fact in outcome.out
    assert RULES["nanogpt"].source in outcome.out


def test_what_is_not_given_is_as_inspect_has_it(cli: Command) -> None:
    document = explained(cli, "t5", "--n-embd", "64", "--vocab-size", "99", "--norm", "post")
    config = config_for("t5", n_layer=12, n_embd=64, vocab_size=99, norm="post")
    assert document["config"] == config.to_dict()
    assert document["schema"] == 1
    assert document["rule"]["architecture"] == get_rule("t5").architecture


# --- every rule ---


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_fits(rule: str, width: int) -> None:
    config = config_for(rule, n_layer=6, n_embd=64)
    found = rule_report(config, get_rule(rule), lambda _p, draw: Trial(draw.std, 1e-4, 999))
    for encoding in ("utf-8", "ascii"):
        text = printed(found, width, encoding)
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
        assert "…" not in text
        assert "~" not in text
        names = [row[0] for row in body(text)]
        assert {"wte", "head"} <= set(names)


@pytest.mark.parametrize("width", [80, 120])
def test_what_parts_do_is_said_at_any_width(width: int) -> None:
    text = report("nanogpt", width)
    for said in ("starts the stream", "reads the stream", "writes to the stream", "into logits"):
        assert said in text


@pytest.mark.parametrize("rule", RULES)
def test_the_parts_are_the_model(rule: str) -> None:
    for changes in (
        {},
        {"bias": True, "tied": False},
        {"norm": "sandwich", "activation": "swiglu"},
    ):
        config = config_for(rule, n_layer=5, n_embd=64, vocab_size=99, **changes)
        found, listed = parts(config, get_rule(rule)), list(all_parameters(config))
        assert sum(part.tensors for part in found) == len(listed)
        assert sum(part.entries for part in found) == sum(math.prod(p.shape) for p in listed)
        matrices = [label for part in found for label in part.labels if "." not in label]
        assert len(matrices) == len(set(matrices))
        for drawn in (drawn for part in found for drawn in part.drawn):
            assert drawn.draw == get_rule(rule).draw(drawn.parameter.site)


@pytest.mark.parametrize("rule", RULES)
def test_what_is_drawn_is_within_its_error(cli: Command, rule: str) -> None:
    for part in explained(cli, rule, *SMALL, "--bias")["parameters"]:
        for draw in part["draws"]:
            # Of 2000 such numbers one is out of 5.5 errors with a chance of 1e-4; where there
            # are few entries the error itself is uncertain by as much as the std.
            allowed = 5.5 * draw["drawn_error"] * (1 + 3 / math.sqrt(draw["drawn_entries"]))
            if draw["distribution"] == "orthogonal":
                allowed = draw["std"] * 3 / draw["drawn_entries"] ** 0.5
            assert draw["drawn_std"] == pytest.approx(draw["std"], abs=allowed + 1e-12), part[
                "names"
            ]


def test_a_rule_that_goes_by_layer_has_its_first_and_last(cli: Command) -> None:
    text = report("torchtitan-llama3", 120)
    rows = {row[0]: row for row in body(text)}
    assert [rows[f"attn_out [{layer}]"][4] for layer in (0, 47)] == ["0.0141", "0.00204"]
    assert "[layer]" in text
    (part,) = (
        part
        for part in explained(cli, "olmo-mitchell", *SMALL)["parameters"]
        if part["names"] == ["mlp_down"]
    )
    first, last = part["draws"]
    assert (first["layer"], last["layer"]) == (0, 5)
    assert first["scale"] == pytest.approx((2 * 192) ** -0.5)
    assert last["scale"] == pytest.approx((12 * 192) ** -0.5)
    assert first["formula"] == last["formula"] == "1/sqrt(2*(layer+1)*fan_in)"
    assert first["std"] < first["scale"], "the truncation takes its share"
    assert (first["cut"], first["bound"]) == (3.0, pytest.approx(3 * first["scale"]))


def test_multipliers_are_said_where_there_are_any(cli: Command) -> None:
    document = explained(cli, "completep", *SMALL)
    found = {one["name"]: one for one in document["multipliers"]}
    assert found["branch_attn"] == {
        "name": "branch_attn", "first": pytest.approx(1 / 3), "last": pytest.approx(1 / 3),
        "formula": "2/n_layer",
    }  # fmt: skip
    assert found.keys() == {"attention", "logits", "branch_attn", "branch_mlp"}
    of = {part["names"][0]: part["draws"][0]["multiplier"] for part in document["parameters"]}
    assert (of["mlp_down"], of["head"], of["mlp_up"]) == (pytest.approx(1 / 3), 4.0, 1.0)
    text = report("completep", 120)
    assert "2/n_layer = 0.0417: what the MLP adds to the stream" in note(text, "× branch_mlp")
    assert "times" in header(text)
    assert "times" not in header(report("nanogpt", 120))
    assert "(2·n_layer)^0.25 = 3.13" in note(report("deepnorm", 80), "× skip_attn")


# --- formulas that do not hold, and rules without any ---


def test_a_formula_that_is_not_the_rules_is_not_shown() -> None:
    config = GPTConfig(n_layer=4, n_embd=64, vocab_size=99)
    base = get_rule("nanogpt")
    drifted = Rule(
        name="x", summary="", source="", draw=base.draw,
        formulas={"matrices": "0.02", "residual": "0.02/sqrt(n_layer)", "branch": "2"},
    )  # fmt: skip
    shown = {part.labels[0]: part.ends[0].formula for part in parts(config, drifted)}
    assert (shown["q"], shown["attn_out"]) == ("0.02", None)
    assert not list(factors(config, drifted))
    bare = Rule(name="x", summary="", source="", draw=base.draw)
    text = printed(rule_report(config, bare, trial), 80)
    assert "N(0, 0.00707)" in text
    assert "formula" not in text


def test_biases_that_differ_are_named(cli: Command) -> None:
    rows = [row[0] for row in body(cli("explain", "rezero", *SMALL, "--bias").out)]
    assert {"q.bias and 3 more", "mlp_up.bias", "mlp_down.bias"} <= set(rows)


def test_own_rules_are_explained(cli: Command) -> None:
    text = (
        "xavier-uniform:q.std=0.1,residual.std=0.02 / sqrt(2*n_layer),k.gain=2,v.value=3,wte.cut=2"
    )
    found = {p["names"][0]: p["draws"][0] for p in explained(cli, text, *SMALL)["parameters"]}
    assert (found["q"]["distribution"], found["q"]["formula"]) == ("uniform", "sqrt(3)*(0.1)")
    assert found["attn_out"]["formula"] == "sqrt(3)*(0.02 / sqrt(2*n_layer))"
    assert (found["k"]["distribution"], found["k"]["formula"]) == ("orthogonal", "2")
    assert (found["v"]["mean"], found["v"]["std"]) == (3.0, 0.0)
    shown = cli("explain", text, *SMALL).out
    for said in ("U(±sqrt(3)·(0.1))", "orthogonal × 2", "N(0, 0.02) in ±2σ"):
        assert said in shown


# --- checks, and what is neither ---


@pytest.mark.parametrize("name", ["IS001", "is001", "depth-exponent"])
def test_a_check(cli: Command, name: str) -> None:
    outcome = cli("explain", name)
    assert outcome.out.startswith("IS001 depth-exponent (error)\n")
    check = explained(cli, name)["check"]
    assert (check["code"], check["bound"], check["threshold"]) == ("IS001", "depth_exponent", 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nanogtp"], "unknown rule or check 'nanogtp': did you mean 'nanogpt'?"),
        (["depth-exponnt"], "unknown rule or check 'depth-exponnt': did you mean 'depth-exponent'"),
        (["is0001"], "unknown rule or check 'is0001': did you mean 'IS001'?"),
        (["nanogtp:std=1"], "did you mean 'nanogpt'?"),
        (["nanogpt:std=1/n_leyer"], "std: unknown name 'n_leyer': did you mean 'n_layer'?"),
        (["IS001", "--n-layer", "3"], "--n-layer is for a rule, but IS001 is a check"),
        (["nanogpt", "--n-embd", "7", "--n-head", "2"], "is not a multiple of n_head"),
    ],
)
def test_what_cannot_be_explained(cli: Command, arguments: list[str], message: str) -> None:
    outcome = cli("explain", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
