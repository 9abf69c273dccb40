"""The catalogue's closed forms: each role's std at three depths, from the tables of formulas.

What is not there has public code to be compared with (test_parity.py, which also sees to it that
no rule is forgotten).
"""

from __future__ import annotations

import pytest

from formulas import FF, GPTS, LAYERS, WIDTH
from formulas_methods import METHODS, TORCHSCALE
from initscope.config import GPTConfig
from initscope.rules import config_for, get_rule
from initscope.sites import Parameter, all_parameters

EXPECTED = GPTS | METHODS


def config(rule: str, n_layer: int, **fields: object) -> GPTConfig:
    """Build the rule's architecture with every parameter that a GPT can have."""
    shape = {"d_ff": 3072, "n_head": 12, "bias": True, "tied": False, "positions": "learned"}
    return config_for(rule, n_layer=n_layer, **{**shape, **fields})


def expected(rule: str, parameter: Parameter) -> tuple[float, float]:
    """Return mean and std of an entry."""
    site = parameter.site
    if site.role in {"norm_gain", "norm_bias", "bias"}:
        return float(site.role == "norm_gain"), bias_std(rule, parameter)
    (want,) = (want for roles, want in EXPECTED[rule].items() if site.role in roles.split())
    if isinstance(want, dict):
        return 0.0, want[site.n_layer]
    return 0.0, want(site.layer) if callable(want) else want


def bias_std(rule: str, parameter: Parameter) -> float:
    """nn.Linear's own in ReZero's MLP and all over torchscale, which scales it; else 0."""
    layer = parameter.label.removesuffix(".bias")
    default = (FF if layer == "mlp_down" else WIDTH) / 3**0.5
    if parameter.site.role != "bias":
        return 0.0
    if rule in TORCHSCALE:
        return default * (1.0 if layer in "qk" else TORCHSCALE[rule][parameter.site.n_layer])
    return default if rule == "rezero" and layer.startswith("mlp") else 0.0


@pytest.mark.parametrize("n_layer", LAYERS)
@pytest.mark.parametrize("rule", EXPECTED)
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_std_of_every_role(rule: str, n_layer: int, activation: str) -> None:
    for parameter in all_parameters(config(rule, n_layer, activation=activation)):
        draw, (mean, std) = get_rule(rule).draw(parameter.site), expected(rule, parameter)
        where = (parameter.label, parameter.site.layer)
        assert draw.mean == mean, where
        assert draw.std == pytest.approx(std, rel=5e-6), where


def std(rule: str, role: str, n_layer: int) -> float:
    listed = all_parameters(config(rule, n_layer))
    return next(get_rule(rule).draw(p.site).std for p in listed if p.site.role == role)


@pytest.mark.parametrize("n_layer", LAYERS)
def test_identities(n_layer: int) -> None:
    """TinyLlama is half of Wang; Wang is small-init·sqrt(10)/n_layer, as llm-foundry has it."""
    wang = std("neox", "mlp_down", n_layer)
    assert std("tinyllama", "mlp_down", n_layer) == pytest.approx(wang / 2)
    assert wang == pytest.approx(std("small-init", "mlp_down", n_layer) * 10**0.5 / n_layer)


def test_by_layer_adds_half_a_harmonic_number() -> None:
    """Σ 1/(2(l+1)) = H/2 over the blocks, where GPT-2's rule adds 1/2."""
    draw = get_rule("torchtitan-llama3").draw
    listed = all_parameters(config("torchtitan-llama3", 48))
    variances = [draw(p.site).std ** 2 for p in listed if p.site.role == "mlp_down"]
    harmonic = sum(1 / i for i in range(1, 49))
    assert sum(variances) == pytest.approx(0.02**2 * harmonic / 2)
