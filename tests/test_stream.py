"""The streamed engine against a whole model under plain autograd with independent hooks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import reference
from initscope import draws
from initscope import plan as plans
from initscope.config import GPTConfig
from initscope.construction import Allocation, build
from initscope.glossary import SITES
from initscope.loss import LOGIT_BYTES
from initscope.plan import Plan
from initscope.rules import RULES, Draw, Rule
from initscope.stream import measure
from reference import Values
from small import SMALL, ids, plan

RELATIVE = 1e-5


def streamed(this: Plan, tokens: torch.Tensor, seed: int = 0) -> Values:
    readings = measure(this, tokens, seed)
    values = {reading[:4]: reading.value for reading in readings}
    assert len(values) == len(readings), "a reading was taken twice"
    return values


def natural_scale(key: tuple[int, str, str, str], want: Values) -> float:
    """Return what an error is relative to, where the value itself may cancel to nothing."""
    layer, site, direction, statistic = key
    value = abs(want[key])
    if statistic == "mean":
        return max(value, math.sqrt(want[layer, site, direction, "second_moment"]))
    if statistic == "kurtosis":
        return max(value, 3.0)  # the normal's fourth moment, subtracted from it
    if statistic == "token_cosine":
        return max(value, 0.1)
    if site == "k.bias":  # softmax ignores what all keys share: the gradient is exactly 0
        return want[layer, "q.bias", direction, statistic]
    return value


def assert_equal(got: Values, want: Values) -> None:
    assert not set(want) - set(got)
    for key, value in want.items():
        if math.isnan(value):
            assert math.isnan(got[key]), key
        else:
            scale = natural_scale(key, want)
            assert abs(got[key] - value) <= RELATIVE * scale, (key, got[key], value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        *({"norm": norm} for norm in ("post", "sandwich", "none")),
        *({"norm": norm, "norm_kind": "rmsnorm"} for norm in ("pre", "post", "sandwich")),
        *({"activation": a} for a in ("gelu_tanh", "relu", "relu2", "silu", "swiglu", "geglu")),
        {"positions": "rope"},
        {"positions": "none"},
        {"tied": False},
        {"tied": False, "norm": "post", "positions": "rope", "activation": "swiglu"},
        {"bias": True, "rule": "torch"},
        {"bias": True, "norm": "sandwich", "rule": "torch", "tied": False},
        {"qk_norm": True, "n_kv_head": 2, "positions": "rope"},
        {"norm": "output"},
        {"norm": "output", "branches": "parallel", "norm_kind": "rmsnorm", "rule": "xavier"},
        *({"branches": branches} for branches in ("parallel", "shared")),
        {"branches": "parallel", "norm": "none"},
        {"branches": "shared", "norm": "sandwich", "bias": True, "rule": "torch"},
        {"embed_norm": True},
        {"embed_norm": True, "tied": False, "bias": True, "rule": "torch", "norm": "post"},
        {"inner_norm": True},
        {"inner_norm": True, "norm": "none", "norm_kind": "rmsnorm", "activation": "swiglu"},
        {"positions": "rope", "rope_share": 0.3},
        {"positions": "sinusoidal", "rule": "mup"},
        {"positions": "alibi"},
        {"positions": "alibi", "n_kv_head": 2, "rule": "kaiming"},
        {"n_layer": 1},
        *({"rule": rule} for rule in RULES),
    ],
    ids=str,
)
def test_readings_equal_those_of_the_whole_model(fields: dict[str, Any]) -> None:
    this, tokens = plan(**fields), ids()
    want = reference.measure(build(this.config, this.rule, seed=3), tokens)
    assert_equal(streamed(this, tokens, seed=3), want)


@pytest.mark.parametrize("tokens", [8, 200], ids=["gram", "product"])
def test_weight_gradients_by_either_order(tokens: int) -> None:
    this = plan(n_layer=2, block_size=256)
    batch = ids(batch=1, length=tokens + 1)
    want = reference.measure(build(this.config, this.rule, seed=0), batch)
    assert_equal(streamed(this, batch), want)


def test_many_vocabulary_slices_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    want = streamed(plan(), ids())
    monkeypatch.setitem(LOGIT_BYTES, "cpu", 4 * 48 * 7)  # 7 of 97 ids at a time
    assert_equal(streamed(plan(), ids()), {k: v for k, v in want.items() if k[3] in {
        "loss", "second_moment", "variance", "kurtosis", "max_abs", "grad_norm"}})  # fmt: skip


@pytest.mark.parametrize("rule", ["nanogpt", "xavier-uniform", "torch", "orthogonal"])
@pytest.mark.parametrize(
    "fields", [{}, {"tied": False}, {"embed_norm": True}, {"vocab_size": 1100}]
)
@pytest.mark.parametrize("cores", [1, 2])
def test_tables_drawn_in_slices_give_the_same(
    rule: str, fields: dict[str, Any], cores: int, monkeypatch: pytest.MonkeyPatch,
    on_cores: Callable[[int], None],
) -> None:  # fmt: skip
    """Slices of 49 rows, which begin and end amid chunks."""
    on_cores(cores)
    this = plan(rule, **fields)
    monkeypatch.setitem(draws.CHUNK, "cpu", 790)
    got = streamed(this, ids())
    assert_equal(got, reference.measure(build(this.config, this.rule, seed=0), ids()))
    monkeypatch.setattr(plans, "SLICE", 1 << 20)
    assert_equal(got, streamed(this, ids()))


def test_kept_blocks_change_no_bit() -> None:
    want = streamed(plan("xavier", n_embd=384, n_head=6), ids())
    got = streamed(plan("xavier", n_embd=384, n_head=6, keep_bytes=1 << 30), ids())
    np.testing.assert_equal(got, want)


@pytest.mark.parametrize("norm", ["pre", "post", "sandwich"])
@pytest.mark.parametrize("bias", [True, False])
def test_kept_outputs_give_the_same(norm: str, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    this = plan("torch", norm=norm, bias=bias, activation="swiglu", n_kv_head=2)
    assert plans.kept(this.config, 4, 48).outputs > 0
    want = streamed(this, ids())
    monkeypatch.setattr(plans, "OUTPUT_BYTES", 0)
    assert_equal(streamed(this, ids()), want)


@pytest.mark.parametrize("rule", ["xavier", "orthogonal"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_crew_changes_no_bit(rule: str, batch: int, on_cores: Callable[[int], None]) -> None:
    """Half of two cores is one, which the crew's sums are taken on too."""
    this, tokens = plan(rule, n_embd=384, n_head=6), ids(batch=batch)
    on_cores(1)
    want = streamed(this, tokens)
    on_cores(2)
    got = streamed(this, tokens)
    assert got.keys() == want.keys()
    of_parts = {"logits", "loss", "wte"}  # the vocabulary is cut in two
    exact = {k for k in want if k[1] not in of_parts and k[2] in {"forward", "weight"}}
    np.testing.assert_equal({k: got[k] for k in exact}, {k: want[k] for k in exact})
    assert_equal(got, want)


def test_more_cores_give_the_same(on_cores: Callable[[int], None]) -> None:
    want = streamed(plan("xavier"), ids())
    on_cores(5)
    assert_equal(streamed(plan("xavier"), ids()), want)


def test_forward_only_gives_the_same_forward() -> None:
    both, one = streamed(plan(), ids()), streamed(plan(backward=False), ids())
    forward = {k: v for k, v in both.items() if k[2] in {"forward", "weight"}}
    np.testing.assert_equal(one, forward)


def test_seeds_differ_and_repeat() -> None:
    first, again, other = (streamed(plan(), ids(), seed) for seed in (0, 0, 1))
    np.testing.assert_equal(first, again)
    key = (2, "resid_post", "forward", "variance")
    assert first[key] != other[key]


def test_overflow_shows_at_the_first_site_where_it_happens() -> None:
    """No norm and a gain of 2 a branch and more: the stream leaves float32 on the way."""
    values = streamed(plan("kaiming", n_layer=60, norm="none", activation="relu"), ids())
    order = [(layer, site) for layer in range(60) for site in SITES]
    largest = [
        (place, values[*place, "forward", "max_abs"])
        for place in order
        if (*place, "forward", "max_abs") in values
    ]
    first = next(i for i, (_, value) in enumerate(largest) if not math.isfinite(value))
    (layer, _site), before = largest[first]
    assert 2 < layer < 60
    assert not math.isfinite(before)
    assert max(value for _, value in largest[:first]) > 1e15  # its square is beyond float32
    assert not any(
        math.isfinite(value) for place, value in largest[first:] if place[1] == "resid_post"
    )


@pytest.mark.parametrize("std", [1e-11, 1e6])
def test_huge_and_tiny_signals_keep_their_variance(std: float) -> None:
    """Squares of the activations leave float32 on either side, the readings do not."""
    rule = Rule(
        name="scaled", summary="", source="",
        draw=lambda site: Draw.normal(std * (site.role not in {"q", "k"})),
    )  # fmt: skip
    config = GPTConfig(**{**SMALL, "n_layer": 1, "norm": "none", "positions": "none"})
    want = reference.measure(build(config, rule, seed=0).double(), ids())
    got = streamed(Plan(config=config, rule=rule, allocation=Allocation()), ids())
    key = (0, "mlp_up", "forward", "variance")
    assert not 1e-38 < want[key] < 3e38
    assert got[key] == pytest.approx(want[key], rel=1e-4)


def test_gradients_are_those_of_float64_autograd() -> None:
    """A direct check of a weight gradient's norm, with the model's weights widened."""
    this, tokens = plan(), ids()
    model = build(this.config, this.rule, seed=0).double()
    want = reference.measure(model, tokens)
    got = streamed(this, tokens)
    for layer in range(3):
        for site in ("q", "k", "v", "attn_out", "mlp_up", "mlp_down"):
            key = (layer, site, "weight_grad", "second_moment")
            assert got[key] == pytest.approx(want[key], rel=2e-5)
