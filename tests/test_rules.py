"""Rules: pure, described, nanoGPT's own numbers, and the closed forms of a draw."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.rules import RULES, Draw, Rule, get_rule
from initscope.rules.core import ROLES, truncated_std
from initscope.sites import Parameter, all_parameters

CONFIG = GPTConfig(n_layer=4, n_embd=64, n_head=4, vocab_size=301, bias=True, tied=False)


def parameters(config: GPTConfig = CONFIG) -> dict[str, Parameter]:
    return {parameter.label: parameter for parameter in all_parameters(config)}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_pure_and_answers_for_every_role(rule: str) -> None:
    for activation in ("gelu", "swiglu"):
        config = GPTConfig(n_layer=2, n_embd=64, activation=activation, bias=True, tied=False)
        listed = list(all_parameters(config))
        assert activation != "swiglu" or {p.site.role for p in listed} == set(ROLES)
        for parameter in listed:
            draw = get_rule(rule).draw(parameter.site)
            assert draw == get_rule(rule).draw(parameter.site)
            assert math.isfinite(draw.std)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_a_rule_says_what_it_does_to_embeddings_norms_and_biases(rule: Rule) -> None:
    for word in ("embeddings", "norm", "bias"):
        assert word in rule.summary
    assert rule.source


# Karpathy's numbers: 0.02 everywhere, c_proj 0.02 / sqrt(2 n_layer).
@pytest.mark.parametrize(("layers", "std"), [(1, 0.0141421), (12, 0.00408248), (48, 0.00204124)])
def test_nanogpt(layers: int, std: float) -> None:
    listed = parameters(CONFIG.at_depth(layers))
    draws = {label: get_rule("nanogpt").draw(p.site) for label, p in listed.items()}
    assert draws["attn_out"].std == draws["mlp_down"].std == pytest.approx(std, rel=1e-4)
    for label in ("wte", "wpe", "q", "k", "v", "mlp_up", "head"):
        assert draws[label] == Draw.normal(0.02)
    for label in ("q.bias", "mlp_down.bias", "norm_1.bias", "norm_f.bias"):
        assert draws[label] == Draw.constant(0)
    assert draws["norm_1"] == draws["norm_f"] == Draw.constant(1)


def test_nanogpt_flat_differs_in_the_residual_weights_alone() -> None:
    for label, parameter in parameters().items():
        scaled, flat = (get_rule(name).draw(parameter.site) for name in ("nanogpt", "nanogpt-flat"))
        assert (scaled != flat) == (label in {"attn_out", "mlp_down"})


@pytest.mark.parametrize(("cut", "std"), [(1, 0.5396), (2, 0.8796), (3, 0.9866), (math.inf, 1)])
def test_truncation_shrinks_the_std(cut: float, std: float) -> None:
    assert truncated_std(cut) == pytest.approx(std, abs=5e-5)
    assert truncated_std(cut) == pytest.approx(stats.truncnorm(-cut, cut).std())


def test_closed_forms() -> None:
    assert Draw.uniform(0.3).std == pytest.approx(stats.uniform(-0.3, 0.6).std())
    assert Draw.orthogonal(2.0, 50, 100).std == pytest.approx(0.2)
    assert Draw.constant(3.0).mean == Draw.constant(-3.0).bound == 3.0
    assert Draw.normal(0.0).bound == 0.0
    assert Draw.normal(1.0).bound == math.inf


def test_unknown_rule_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown rule 'nanogtp': did you mean 'nanogpt'"):
        get_rule("nanogtp")
