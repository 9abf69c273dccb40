"""The catalogue's formulas, against the draws and the factors that they describe."""

from __future__ import annotations

import dataclasses

import pytest

from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.rules import RULES, Draw, Multipliers, Rule, config_for
from initscope.rules.formula import Formula
from initscope.rules.formulas import FORMULAS
from initscope.rules.parts import GROUPS, PARTS, VECTORS, spread
from initscope.sites import all_parameters, model_site

SHAPES = ({"n_layer": 1, "n_embd": 64}, {"n_layer": 7, "n_embd": 192, "d_ff": 100})

# Sizes without a closed form in this notation: DeepScaleLM's go by a recursion over the layers,
# the latest nanochat's skip of the first layers by their share of the depth.
WITHOUT = {
    ("deepscalelm", "v"), ("deepscalelm", "attn_out"),
    ("deepscalelm-sigma", "v"), ("deepscalelm-sigma", "attn_out"),
    ("nanochat-latest", "skip_attn"),
}  # fmt: skip


def configs(rule: str) -> list[GPTConfig]:
    whole = {"bias": True, "tied": False, "positions": "learned"}
    return [
        config_for(rule, **{**whole, **shape, "activation": activation})
        for shape in SHAPES
        for activation in ("gelu", "swiglu")
    ]


def test_formulas_are_of_rules_that_exist() -> None:
    assert FORMULAS.keys() <= RULES.keys()


@pytest.mark.parametrize("rule", FORMULAS)
def test_every_matrix_has_a_formula_that_gives_its_draw(rule: str) -> None:
    texts = spread(RULES[rule].formulas)
    for parameter in (p for config in configs(rule) for p in all_parameters(config)):
        role, draw = parameter.site.role, RULES[rule].draw(parameter.site)
        if role in VECTORS and (role not in texts or draw.kind == "constant"):
            continue
        if (rule, role) in WITHOUT:
            assert role not in texts
            continue
        assert Formula.read(texts[role]).at(parameter.site) == pytest.approx(draw.scale, rel=1e-14)


@pytest.mark.parametrize("rule", FORMULAS)
def test_every_multiplier_has_a_formula_that_gives_it(rule: str) -> None:
    texts = spread(RULES[rule].formulas)
    for config in configs(rule):
        for layer in range(-1, config.n_layer + 1):
            site = model_site(config, layer)
            for name, value in dataclasses.asdict(RULES[rule].multipliers(site)).items():
                if (rule, name) in WITHOUT:
                    assert name not in texts
                    continue
                text = texts.get(name, "1")
                assert Formula.read(text).at(site) == pytest.approx(value, rel=1e-14), name


def test_of_two_groups_that_overlap_one_is_the_smaller() -> None:
    for one, roles in GROUPS.items():
        for other, others in GROUPS.items():
            assert one == other or not set(roles) & set(others) or len(roles) != len(others)


def test_the_narrowest_key_counts_whatever_the_order() -> None:
    said = {"matrices": 0, "mlp": 1, "residual": 2, "mlp_down": 3}
    for order in (said, dict(reversed(said.items()))):
        found = spread(order)
        assert [found[role] for role in ("wte", "mlp_up", "attn_out", "mlp_down")] == [0, 1, 2, 3]
    assert {name for name, parts in PARTS.items() if parts == (name,)} >= {"wte", "branch_attn"}
    with pytest.raises(UsageError, match="'residul': did you mean 'residual'"):
        spread({"residul": 1})


def test_a_rule_needs_no_formula() -> None:
    rule = Rule(name="x", summary="", source="", draw=lambda _site: Draw.normal(1.0))
    assert not rule.formulas
    assert rule.multipliers(model_site(GPTConfig(n_layer=1), 0)) == Multipliers()
