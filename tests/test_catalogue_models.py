"""The catalogue as models: factors in the forward pass, and measurements."""

from __future__ import annotations

import pytest

import initscope
from initscope.bounds import Bounds
from initscope.checks import Evidence, get_check
from initscope.config import GPTConfig
from initscope.options import Options
from initscope.rules import RULES, Multipliers, config_for, get_rule
from initscope.sites import model_site
from initscope.verdict import Status

# At width 768, 12 heads of 64: α of DeepNet (2·n_layer)^1/4; μP with a base width of 256.
FACTORS: dict[tuple[str, int], Multipliers] = {
    ("deepnorm", 1): Multipliers(skip_attn=1.18921, skip_mlp=1.18921),
    ("deepnorm", 12): Multipliers(skip_attn=2.21336, skip_mlp=2.21336),
    ("deepnorm", 48): Multipliers(skip_attn=3.13017, skip_mlp=3.13017),
    ("rezero", 12): Multipliers(branch_attn=0, branch_mlp=0),
    ("layerscale", 12): Multipliers(branch_attn=1e-4, branch_mlp=1e-4),
    ("palm", 12): Multipliers(logits=0.0360844),
    ("t5", 12): Multipliers(attention=8, logits=0.0360844),
    ("mup", 12): Multipliers(attention=0.125, logits=1 / 3),
    ("completep", 12): Multipliers(
        attention=0.125, logits=1 / 3, branch_attn=1 / 6, branch_mlp=1 / 6
    ),
    ("completep", 48): Multipliers(
        attention=0.125, logits=1 / 3, branch_attn=1 / 24, branch_mlp=1 / 24
    ),
    ("depth-mup", 48): Multipliers(
        attention=0.125, logits=1 / 3, branch_attn=0.144338, branch_mlp=0.144338
    ),
}
FIELDS = Multipliers.__dataclass_fields__


@pytest.mark.parametrize(("rule", "n_layer"), FACTORS)
def test_factors(rule: str, n_layer: int) -> None:
    config = GPTConfig(n_layer=n_layer, n_embd=768, n_head=12)
    for layer in (-1, 0, n_layer - 1, n_layer):
        got = get_rule(rule).multipliers(model_site(config, layer))
        for name in FIELDS:
            want = getattr(FACTORS[rule, n_layer], name)
            assert getattr(got, name) == pytest.approx(want, rel=5e-6), name


def test_all_other_rules_have_no_factors() -> None:
    site = model_site(GPTConfig(n_layer=12), 3)
    plain = {rule.name for rule in RULES.values() if rule.multipliers(site) == Multipliers()}
    assert plain == RULES.keys() - {rule for rule, _ in FACTORS}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_measures_and_its_parameters_are_as_it_says(rule: str) -> None:
    config = config_for(rule, n_layer=4, n_embd=32, vocab_size=101, block_size=32)
    profile = initscope.inspect(config, rule, Options(depth_law=False))
    finding = get_check("IS012").find(Evidence(profile, Bounds()))  # judge() would run them all
    assert finding.status is Status.KEPT, finding.message
    stream = profile.stream().to_numpy()
    assert stream.shape == (5, 1)
    assert (stream > 0).all()


@pytest.mark.parametrize("rule", ["rezero", "zero-projections", "nanochat"])
def test_zero_branches_leave_the_stream_as_it_was_embedded(rule: str) -> None:
    config = config_for(rule, n_layer=4, n_embd=32, vocab_size=101, block_size=32)
    stream = initscope.inspect(config, rule, Options(depth_law=False)).stream().iloc[:, 0]
    assert stream.nunique() == 1
