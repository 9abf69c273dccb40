"""Rules of one's own: a base with formulas laid over it, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from initscope.config import GPTConfig
from initscope.construction import build
from initscope.errors import UsageError
from initscope.options import Options
from initscope.rules import Draw, Multipliers, Rule, config_for, get_rule
from initscope.rules.core import RESIDUAL, ROLES
from initscope.rules.own import amended, assignments
from initscope.rules.parts import DRAWN
from initscope.sites import Parameter, all_parameters, model_site
from initscope.sweep import compare

CONFIG = GPTConfig(n_layer=12, n_embd=64, activation="swiglu", bias=True, tied=False)
PLACES: dict[str, Parameter] = {p.site.role: p for p in all_parameters(CONFIG)}


def draws(rule: str | Rule) -> dict[str, Draw]:
    return {role: get_rule(rule).draw(PLACES[role].site) for role in ROLES}


def changed(rule: str, base: str | None = None) -> dict[str, Draw]:
    """Return what a rule draws otherwise than its base."""
    before = draws(base or rule.partition(":")[0])
    return {role: draw for role, draw in draws(rule).items() if draw != before[role]}


def refused(rule: str) -> str:
    with pytest.raises(UsageError) as caught:
        draws(rule)
    return str(caught.value)


def test_the_published_formula_gives_the_published_rule() -> None:
    own = draws("nanogpt-flat:residual_std=0.02/sqrt(2*n_layer)")
    for role, draw in draws("nanogpt").items():
        assert own[role] == draw
    assert changed("nanogpt:matrices.std=0.02,residual.std=0.02/sqrt(2*n_layer)") == {}


@pytest.mark.parametrize(
    ("said", "roles"),
    [
        ("std=1", set(ROLES) - {"norm_gain", "norm_bias", "bias"}),
        *((f"{key}.std=1", set(roles)) for key, roles in DRAWN.items()),
        ("residual_std=1", RESIDUAL), ("attn_out_std=1", {"attn_out"}),
        ("embeddings_std=1", {"wte", "wpe", "head"}), ("qkv_std=1", {"q", "k", "v"}),
    ],
)  # fmt: skip
def test_what_a_key_reaches(said: str, roles: set[str]) -> None:
    assert changed(f"nanogpt:{said}") == dict.fromkeys(roles, Draw.normal(1.0))


def test_the_narrowest_key_counts_whatever_the_order() -> None:
    for text in ("std=3,mlp.std=2,attn_out.std=1", "attn_out.std=1,mlp.std=2,std=3"):
        own = draws(f"nanogpt:{text}")
        assert [own[role].std for role in ("attn_out", "mlp_down", "q")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("rule", "draw"),
    [
        ("nanogpt:q.std=fan_in/n_head", Draw.normal(64.0)),
        ("nanogpt:q.bound=0.5", Draw.uniform(0.5)),
        ("nanogpt:q.gain=2", Draw.orthogonal(2.0, 64, 64)),
        ("nanogpt:q.value=-1", Draw.constant(-1.0)),
        ("nanogpt:q.cut=3", Draw.truncated_normal(0.02, 3.0)),
        ("nanogpt:q.kind=truncated_normal", Draw.truncated_normal(0.02, 2.0)),
        ("nanogpt:q.kind=uniform,q.std=1", Draw.uniform(math.sqrt(3))),
        ("nanogpt:q.kind=uniform", Draw.uniform(0.02 * math.sqrt(3))),
        ("nanogpt:q.kind=orthogonal", Draw.orthogonal(0.16, 64, 64)),
        ("olmo-normal:q.std=1", Draw.truncated_normal(1.0, 3.0)),
        ("olmo-normal:q.kind=normal", Draw.normal(0.02)),
        ("xavier-uniform:q.std=1", Draw.uniform(math.sqrt(3))),
        ("orthogonal:q.std=1", Draw.orthogonal(8.0, 64, 64)),
        ("zero-projections:attn_out.std=1", Draw.normal(1.0)),
    ],
)
def test_the_distribution_is_the_bases_unless_said(rule: str, draw: Draw) -> None:
    (own,) = changed(rule).values()
    assert own.kind == draw.kind
    assert own.cut == draw.cut
    assert own.span == draw.span
    assert own.scale == pytest.approx(draw.scale, rel=1e-15)


def test_vectors_can_be_named_too() -> None:
    own = changed("nanogpt:norm_gain.value=0.5,bias.std=0.1")
    assert own == {"norm_gain": Draw.constant(0.5), "bias": Draw.normal(0.1)}


def test_factors_and_architecture() -> None:
    rule = get_rule("deepnorm:branch=1/sqrt(2*n_layer), logits=2, tied=no, norm_eps=1e-6, norm=pre")
    got = rule.multipliers(model_site(CONFIG, 3))
    root, alpha = 1 / math.sqrt(24), 24**0.25
    assert got == Multipliers(
        branch_attn=root, branch_mlp=root, logits=2.0, skip_attn=alpha, skip_mlp=alpha
    )
    assert rule.architecture == {"norm": "pre", "tied": False, "norm_eps": 1e-6}
    config = config_for(rule, n_layer=2)
    assert (config.norm, config.tied, config.norm_eps) == ("pre", False, 1e-6)
    assert get_rule("nanogpt:n_kv_head=2").architecture == {"n_kv_head": 2}


def test_a_formula_may_go_by_layer() -> None:
    rule = get_rule("nanogpt:residual.std=0.02/sqrt(2*(layer+1))")
    same = get_rule("torchtitan-llama3")
    for parameter in all_parameters(CONFIG):
        if parameter.site.role in RESIDUAL:
            own, known = rule.draw(parameter.site), same.draw(parameter.site)
            assert own.std == pytest.approx(known.std, rel=1e-15)


def test_what_is_measured_is_what_was_asked_for() -> None:
    text = "xavier-uniform:residual.kind=normal,residual.std=0.3/n_layer,wte.bound=0.5"
    block = build(GPTConfig(n_layer=3, n_embd=64, vocab_size=999), text, seed=1)
    weight = block.blocks[2].get_parameter("mlp_down.weight")
    assert weight.std().item() == pytest.approx(0.1, rel=5 / math.sqrt(2 * weight.numel()))
    wte = block.embedding.wte.weight
    assert 0.499 < wte.abs().max().item() <= 0.5
    options = Options(seq_len=8, device="cpu", depth_law=False)
    profiles = compare(GPTConfig(n_layer=2, n_embd=32, vocab_size=64), ["nanogpt", text], options)
    assert [profile.rule for profile in profiles] == ["nanogpt", text]


def test_assignments_are_split_outside_brackets() -> None:
    text = "a=min(1, max(2,3)) , b = (1,2),c=="
    assert assignments(text) == {"a": "min(1, max(2,3))", "b": "(1,2)", "c": "="}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("nanogtp:std=1", "unknown rule 'nanogtp': did you mean 'nanogpt'?"),
        ("nanogpt:", "'' is no assignment; write KEY=FORMULA, as std=0.02"),
        ("nanogpt:std", "'std' is no assignment"),
        ("nanogpt:std=1,,q.std=1", "'' is no assignment"),
        ("nanogpt:std=1,std=2", "std is given twice"),
        ("nanogpt:residual_sd=1", "unknown quantity 'sd': did you mean 'std'?"),
        ("nanogpt:residul.std=1", "unknown role or group 'residul': did you mean 'residual'?"),
        ("nanogpt:residul_std=1", "unknown key 'residul_std': did you mean 'residual_std'?"),
        ("nanogpt:zzz=1", "unknown key 'zzz': write wte, wpe, q,"),
        ("nanogpt:branch_atn=1", "unknown key 'branch_atn': did you mean 'branch_attn'?"),
        ("nanogpt:q.std=1,q.bound=1", "q.bound: q has a size already; give it one"),
        ("nanogpt:q.std=1,q_std=2", "q_std: q has a size already"),
        ("nanogpt:q.cut=1,q_cut=2", "q_cut: q has a cut already"),
        ("nanogpt:q.kind=uniforn", "q.kind: unknown distribution 'uniforn': did you mean 'uniform"),
        ("nanogpt:q.kind=normal,q.bound=1", "q is normal, which is sized by q.std, not by q.bound"),
        ("nanogpt:q.kind=constant", "q is constant, which is sized by q.value"),
        ("nanogpt:q.bound=1,q.cut=2", "q.cut cuts a normal, but q is uniform"),
        ("nanogpt:bias.gain=1", "bias is a vector; only a matrix can be orthogonal"),
        ("nanogpt:norm=psot", "unknown norm 'psot': did you mean 'post'?"),
        ("nanogpt:tied=maybe", "tied must be yes or no, not 'maybe'"),
        ("nanogpt:n_kv_head=2.5", "n_kv_head must be a whole number above 0, not '2.5'"),
        ("nanogpt:norm_eps=0", "norm_eps must be a number above 0, not '0'"),
        ("nanogpt:norm_eps=nan", "norm_eps must be a number above 0"),
        ("nanogpt:q.std=0.02/n_layers", "q.std: unknown name 'n_layers': did you mean 'n_layer'?"),
        ("nanogpt:q.std=5-layer", "q.std: 5-layer is -6; it must be 0 or more"),
        ("nanogpt:q.bound=-1", "q.bound: -1 is -1; it must be 0 or more"),
        ("nanogpt:q.cut=9", "q.cut: 9 is 9; it must be from 0.01 to 5"),
        ("nanogpt:q.std=1/(layer-11)", "q.std: divides by zero"),
    ],
)
def test_what_cannot_be_right_is_said(rule: str, message: str) -> None:
    assert message in refused(rule)


@pytest.mark.parametrize("value", [True, None, [1], {"std": {"x": 1}}])
def test_toml_may_hold_formulas_and_numbers_alone(value: Any) -> None:
    with pytest.raises(UsageError, match=r"must be a formula in quotes or a number"):
        amended(
            get_rule("nanogpt"), "own", {"q": value if isinstance(value, dict) else {"std": value}}
        )


def test_all_rules_are_checked_before_the_first_is_measured() -> None:
    seen: list[str] = []
    late = "nanogpt:q.std=0.02*(1-layer)"
    options = Options(seq_len=8, device="cpu")
    with pytest.raises(UsageError, match=r"rule '.+' \(q, layer 2\): q.std: .+ is -0.02; it must"):
        compare(
            GPTConfig(n_layer=4, n_embd=32, vocab_size=64), ["nanogpt", late], options,
            report=lambda what, _done, _total: seen.append(what),
        )  # fmt: skip
    assert seen == []
