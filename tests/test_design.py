"""A rule is solved for: closed forms, and what its text says when it is read back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from designs import OPTIONS, ROUNDED, SIZES, config, made
from initscope.designing import Design, Targets, design, quantities
from initscope.rules import config_for, get_rule
from initscope.rules.formula import Formula
from initscope.settings import load_settings
from initscope.sites import all_parameters, block_parameters
from initscope.theory import predict

# --- closed forms ---


def formula_at(found: Design, key: str, role: str = "mlp_down") -> float:
    site = next(p.site for p in block_parameters(found.config, 0) if p.site.role == role)
    return Formula.read(found.said[key]).at(site)


@pytest.mark.parametrize("variance", [0.5, 1.0, 4.0])
def test_a_norm_after_each_branch_adds_its_factors_square(variance: float) -> None:
    # q_L = q_0 + 2 L b², as RMSNorm leaves a mean square of 1.
    fields = {"norm": "sandwich", "norm_kind": "rmsnorm", "n_embd": 512, "n_head": 8}
    found = made("xavier", fields, final_variance=variance)
    embedding = 2 * 0.02**2
    expected = math.sqrt((variance - embedding) / (2 * found.config.n_layer))
    # A variance is less than a mean square by at most 1/width of it.
    assert formula_at(found, "branch") == pytest.approx(expected, rel=1 / 512 + ROUNDED)


@pytest.mark.parametrize("variance", [0.01, 1.0])
def test_an_mlp_alone_adds_half_its_gain_under_relu(variance: float) -> None:
    # With v = 0 attention adds nothing, and E relu(u)² is half of E u² (He et al. 2015).
    base, width, hidden = "nanogpt:v.std=0", 256, 1024
    found = made(base, {"activation": "relu", "n_embd": width}, final_variance=variance)
    embedding = 2 * 0.02**2
    up = width * 0.02**2
    # The norm's ε counts beside an embedding this small; it is added before the root.
    stream = np.linspace(embedding, variance, found.config.n_layer + 1)[:-1]
    shrunk = stream / (stream + 1e-5)
    per_unit = hidden * up / 2 * shrunk.sum()
    expected = math.sqrt((variance - embedding) / per_unit)
    assert formula_at(found, "residual.std") == pytest.approx(expected, rel=1 / width + ROUNDED)


def test_growth_and_variance_say_what_the_embedding_is() -> None:
    tied = made(final_variance=3.0, growth=4.0)
    assert float(tied.said["embed"]) ** 2 * 2 * 0.02**2 == pytest.approx(3 / 4, rel=ROUNDED)
    untied = made(fields={"tied": False, "positions": "rope"}, final_variance=3.0, growth=4.0)
    assert formula_at(untied, "wte.std") ** 2 == pytest.approx(3 / 4, rel=ROUNDED)


# --- what theory says of the result ---

WANTED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("nanogpt", {}, {"final_variance": 1.0}),
    ("nanogpt", {}, {"growth": 2.0}),
    ("nanogpt", {}, {"gradient_ratio": 1.5}),
    ("nanogpt", {}, {"attention_share": 0.5, "final_variance": 0.1}),
    ("nanogpt", {}, {"final_variance": 1.0, "gradient_ratio": 1.5, "attention_share": 0.5}),
    ("nanogpt", {"norm": "post"}, {"gradient_ratio": 1.5}),
    ("nanogpt", {"norm": "post"}, {"attention_share": 0.5}),
    ("nanogpt", {"norm": "none"}, {"growth": 3.0}),
    ("nanogpt", {"norm": "sandwich"}, {"final_variance": 1.0, "attention_share": 0.25}),
    ("nanogpt-flat", {}, {"final_variance": 1.0}),
    ("cerebras", {"activation": "swiglu"}, {"final_variance": 1.0}),
    ("xavier-uniform", {}, {"growth": 2.0}),
    ("orthogonal", {}, {"growth": 2.0}),
    ("zero-projections", {}, {"growth": 2.0}),
    ("rezero", {}, {"growth": 2.0}),
    ("completep", {}, {"growth": 2.0}),
    ("torchtitan-llama3", {}, {"growth": 2.0, "final_variance": 1.0}),
    ("deepscalelm", {}, {"final_variance": 1.2}),
    ("u-mup", {}, {"growth": 2.0}),
]


@pytest.mark.parametrize(("base", "fields", "targets"), WANTED)
def test_theory_meets_the_targets(
    base: str, fields: dict[str, Any], targets: dict[str, float]
) -> None:
    found = made(base, fields, **targets)
    profile = predict(found.config, found.rule, OPTIONS)
    for name, wanted in targets.items():
        value = getattr(quantities.read(profile), name)
        assert value == pytest.approx(wanted, rel=2 * ROUNDED), name


def test_without_a_target_for_it_what_is_added_in_all_stays() -> None:
    found = made("nanogpt-flat", attention_share=0.5)
    assert found.after.final_variance == pytest.approx(found.before.final_variance, rel=ROUNDED)


def test_a_power_of_the_layer_evens_out_what_layers_add() -> None:
    # Its mlp_up and mlp_down go as 1/sqrt(layer + 1), so what an MLP adds as 1/(layer + 1)².
    base = "torchtitan-llama3:v.std=0"
    before = made(base, final_variance=2.0)
    even = made(base, final_variance=2.0, layer_evenness=True)
    assert before.after.layer_evenness == pytest.approx(6**2, rel=0.01)
    assert even.after.layer_evenness == pytest.approx(1, abs=0.01)
    assert even.after.final_variance == pytest.approx(2.0, rel=ROUNDED)


@pytest.mark.parametrize(("base", "norm"), [("nanogpt", "pre"), ("nanogpt-flat", "sandwich")])
def test_the_formula_holds_at_other_depths(base: str, norm: str) -> None:
    found = made(base, {"norm": norm}, final_variance=1.0)
    for depth in (3, 12, 48):
        deep = predict(found.config.at_depth(depth), found.rule, OPTIONS)
        assert quantities.read(deep).final_variance == pytest.approx(1.0, rel=0.1), depth


# --- what is printed ---


@pytest.mark.parametrize(("base", "fields", "targets"), WANTED)
def test_what_is_printed_is_the_rule(
    base: str, fields: dict[str, Any], targets: dict[str, float], tmp_path: Path
) -> None:
    found = made(base, fields, **targets)
    path = tmp_path / "initscope.toml"
    path.write_text(found.toml, encoding="utf-8")
    for rule in (load_settings(path).rules["designed"], get_rule(found.inline)):
        shape = config_for(rule, **SIZES)  # the architecture comes with the rule
        assert shape == found.config
        again = predict(shape, rule, OPTIONS).table["value"].to_numpy()
        np.testing.assert_array_equal(again, found.predicted.table["value"].to_numpy())


def test_a_base_with_changes_and_a_strange_name_are_quoted(tmp_path: Path) -> None:
    base = "nanogpt:wte.std=0.01"
    found = design(config(), base, Targets(growth=2.0), OPTIONS, name='"q"é')
    path = tmp_path / "initscope.toml"
    path.write_text(found.toml, encoding="utf-8")
    written = load_settings(path).rules['"q"é']
    assert (written.summary, written.source) == (found.rule.summary, found.rule.source)
    for rule in (written, get_rule(found.inline)):
        for parameter in all_parameters(found.config):
            assert rule.draw(parameter.site) == found.rule.draw(parameter.site), parameter


def test_each_knob_has_a_reason_and_its_cost() -> None:
    found = made(final_variance=1.0, gradient_ratio=1.5, attention_share=0.5)
    assert [one.key for one in found.reasons] == ["attn_out.std", "mlp_down.std", "embed"]
    assert "2·n_layer branches add" in found.reasons[0].why
    assert ", 50% of it this one" in found.reasons[0].why
    assert "since the head shares the table" in found.reasons[2].cost
    small = made(growth=1.01)
    assert "Adam moves every entry alike" in small.reasons[0].cost
    loud = made(final_variance=1.0)
    assert "the gradient's ratio goes from" in loud.reasons[0].cost
