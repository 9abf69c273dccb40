"""Rules: each closed form against its source, and a whole model drawn against torch.nn.init."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from initscope.config import GPTConfig
from initscope.construction import build
from initscope.errors import UsageError
from initscope.rules import RULES, Draw, Rule, get_rule
from initscope.rules.core import ROLES, truncated_std
from initscope.sites import Parameter, all_parameters

CONFIG = GPTConfig(n_layer=4, n_embd=64, n_head=4, vocab_size=301, bias=True, tied=False)
MATRICES = ("q", "k", "v", "attn_out", "mlp_up", "mlp_down")


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


_INITIALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_normal_,
    "xavier-uniform": nn.init.xavier_uniform_,
    "kaiming": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "lecun": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "orthogonal": nn.init.orthogonal_,
}


def same_distribution(a: Tensor, b: Tensor) -> bool:
    """Two-sample Kolmogorov-Smirnov; 100 comparisons leave a false alarm unlikely."""
    return bool(stats.ks_2samp(a.flatten().numpy(), b.flatten().numpy()).pvalue > 1e-5)


@pytest.mark.parametrize("rule", _INITIALISERS)
@pytest.mark.parametrize("seed", range(3))
def test_matrices_are_drawn_as_torch_draws_them(rule: str, seed: int) -> None:
    torch.manual_seed(seed)
    block = build(CONFIG, rule, seed).blocks[3]
    for label in MATRICES:
        ours = block.get_parameter(f"{label}.weight").detach()
        theirs = _INITIALISERS[rule](torch.empty_like(ours))
        assert ours.std().item() == pytest.approx(
            theirs.std().item(), rel=8 / math.sqrt(2 * ours.numel())
        )
        assert same_distribution(ours, theirs), label
        draw = get_rule(rule).draw(parameters()[label].site)
        if rule == "xavier-uniform":
            bound = math.sqrt(6 / sum(ours.shape))
            assert draw.bound == pytest.approx(bound)
            assert 0.99 * bound < ours.abs().max().item() <= bound


@pytest.mark.parametrize("seed", range(3))
def test_torch_rule_is_what_modules_do_by_themselves(seed: int) -> None:
    torch.manual_seed(seed)
    model = build(CONFIG, "torch", seed)
    block = model.blocks[0]
    for label in MATRICES:
        fan_out, fan_in = block.get_parameter(f"{label}.weight").shape
        theirs, bound = nn.Linear(fan_in, fan_out), 1 / math.sqrt(fan_in)
        for name in ("weight", "bias"):
            a = block.get_parameter(f"{label}.{name}").detach()
            b = theirs.get_parameter(name).detach()
            assert a.abs().max().item() <= bound
            assert same_distribution(a, b), (label, name)
    assert same_distribution(
        model.embedding.wte.weight.detach(), nn.Embedding(301, 64).weight.detach()
    )
    assert same_distribution(
        model.unembedding.head.weight.detach(), nn.Linear(64, 301).weight.detach()
    )
    assert block.get_parameter("norm_1.weight").eq(1).all()
    assert block.get_parameter("norm_1.bias").eq(0).all()


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
