"""What is measured on a real draw of one parameter."""

from __future__ import annotations

import math

import pytest

from initscope.config import GPTConfig
from initscope.construction import build
from initscope.rules import Draw, get_rule
from initscope.sites import Parameter, all_parameters
from initscope.table.breakdown import rule_report
from initscope.trial import MOST, MOST_ORTHOGONAL, trial
from printing import body, printed


def test_the_sample_is_the_models_own_tensor() -> None:
    config = GPTConfig(n_layer=3, n_embd=64, vocab_size=500)
    model = build(config, "xavier-uniform", seed=7)
    for parameter in all_parameters(config):
        if parameter.label == "mlp_up":
            weight = model.blocks[parameter.site.layer].get_parameter("mlp_up.weight").double()
            found = trial(parameter, get_rule("xavier-uniform").draw(parameter.site), seed=7)
            assert found is not None
            assert found.std == pytest.approx(weight.std(correction=0).item(), rel=1e-9)
            kurtosis = 9 / 5  # a uniform's
            error = found.std * math.sqrt((kurtosis - 1) / (4 * weight.numel()))
            assert found.error == pytest.approx(error, rel=0.05)


def test_only_so_much_is_drawn() -> None:
    wide = GPTConfig(n_layer=1, n_embd=4096, n_head=32)
    parameter: Parameter = next(p for p in all_parameters(wide) if p.label == "q")
    found = trial(parameter, Draw.normal(0.5))
    assert found is not None
    assert found.entries == MOST < math.prod(parameter.shape)
    assert found.std == pytest.approx(0.5, abs=5 * found.error)
    assert math.prod(parameter.shape) > MOST_ORTHOGONAL
    assert trial(parameter, Draw.orthogonal(1.0, 4096, 4096)) is None
    shown = printed(rule_report(wide, get_rule("orthogonal"), lambda _p, _d: None), 120)
    assert next(row for row in body(shown) if row[0] == "q, k, v")[5:7] == ["–", "–"]
