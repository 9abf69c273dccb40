"""The resident engine: equal to the streamed one, right on users' models, and without a trace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from families import FAMILIES, family
from initscope.construction import build
from initscope.errors import MeasurementError
from initscope.stream import measure as streamed
from resident_readings import RELATIVE, assert_same, resident
from small import ids, plan
from users_gpt import Shared, users_gpt


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rule": "torch", "norm": "post", "activation": "swiglu", "tied": False, "bias": True},
        {"norm": "sandwich", "norm_kind": "rmsnorm", "activation": "geglu", "positions": "rope"},
        {"rule": "xavier", "qk_norm": True, "n_kv_head": 2, "activation": "relu2"},
        {"norm": "none", "activation": "silu"},
        {"rule": "mup"},
        {"rule": "deepnorm", "norm": "post"},
    ],
    ids=str,
)
def test_readings_equal_the_streamed_engines(fields: dict[str, Any]) -> None:
    this = plan(**fields)
    want = {r[:4]: r.value for r in streamed(this, ids(), 0) if r.statistic != "rule_std"}
    got = resident(build(this.config, this.rule, 0))
    assert set(got) == set(want)
    assert_same(got, want)


@pytest.mark.parametrize(
    "fields",
    [
        {"in_place": True},
        {"checkpointing": "reentrant"},
        {"checkpointing": "not"},
        {"checkpointing": "reentrant", "in_place": True},
        {"fused_softmax": False},
    ],
    ids=str,
)
def test_however_the_same_model_is_written_it_reads_the_same(fields: dict[str, Any]) -> None:
    assert_same(resident(users_gpt(**fields)), resident(users_gpt()))


def test_readings_of_a_users_model_are_those_of_plain_autograd() -> None:
    """Sites cut out of a fused projection, against tensors taken out of the model by hand."""
    model, tokens = users_gpt(bias=True), ids()
    got = resident(model)
    kept: dict[str, Tensor] = {}
    layer = model.transformer["h"][1]  # type: ignore[index]
    layer.attn.c_attn.register_forward_hook(lambda _m, _a, out: kept.update(qkv=out))
    layer.ln_2.register_forward_pre_hook(lambda _m, args: kept.update(resid_mid=args[0]))
    _, loss = model(tokens[:, :-1], tokens[:, 1:])
    for x in kept.values():
        x.retain_grad()
    loss.backward()
    whole = kept["qkv"]
    assert whole.grad is not None
    parts = dict(zip("qkv", zip(whole.split(48, -1), whole.grad.split(48, -1), strict=True),
                     strict=True))  # fmt: skip
    assert kept["resid_mid"].grad is not None
    parts["resid_mid"] = (kept["resid_mid"], kept["resid_mid"].grad)
    for site, (x, gradient) in parts.items():
        variance = x.detach().double().var(correction=0).item()
        square = gradient.double().square().mean().item()
        assert got[1, site, "forward", "variance"] == pytest.approx(variance, rel=RELATIVE)
        assert got[1, site, "backward", "second_moment"] == pytest.approx(square, rel=RELATIVE)
    weight = layer.mlp.c_proj.weight.grad.double().square().mean().item()
    assert got[1, "mlp_down", "weight_grad", "second_moment"] == pytest.approx(weight, rel=1e-5)
    assert got[3, "loss", "forward", "loss"] == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_measured_both_ways(name: str) -> None:
    model = family(name)
    got = resident(model)
    assert all(math.isfinite(got[layer, "resid_post", direction, "variance"])
               for layer in (0, 1) for direction in ("forward", "backward"))  # fmt: skip
    assert got[2, "loss", "forward", "loss"] == pytest.approx(math.log(97), abs=0.5)
    total = model(input_ids=ids(), labels=ids()).loss
    assert got[2, "loss", "forward", "loss"] == pytest.approx(total.item(), abs=0.02)
    total.backward()
    square = sum(float(p.grad.double().square().sum()) for p in model.parameters()
                 if p.grad is not None)  # fmt: skip
    assert got[2, "model", "weight_grad", "grad_norm"] == pytest.approx(square**0.5, rel=0.05)
    assert ((0, "attn", "forward", "attention_entropy") in got) == (name != "mamba")


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "falcon"])
def test_attention_reads_the_same_through_either_implementation(name: str) -> None:
    fused, plain = (resident(family(name, attn_implementation=kind)) for kind in ("sdpa", "eager"))
    for statistic in ("attention_entropy", "attention_logit_std"):
        key = (1, "attn", "forward", statistic)
        assert fused[key] == pytest.approx(plain[key], rel=1e-4)


# --- conditions ---


def test_frozen_parameters_have_no_gradient_and_change_no_other_reading() -> None:
    model, want = users_gpt(), resident(users_gpt())
    frozen = model.transformer["h"][0].requires_grad_(requires_grad=False)  # type: ignore[index]
    got = resident(model)
    missing = {key for key in want if key not in got}
    assert missing == {key for key in want if key[2] == "weight_grad" and key[0] == 0}
    assert not any(p.requires_grad for p in frozen.parameters())
    del want[3, "model", "weight_grad", "grad_norm"]
    assert_same(got, {key: value for key, value in want.items() if key not in missing})


def test_a_wholly_frozen_model_is_measured_forward_and_says_so() -> None:
    model = users_gpt().requires_grad_(requires_grad=False)
    with pytest.raises(MeasurementError, match="no parameter that requires a gradient"):
        resident(model)
    want = resident(users_gpt(), backward=False)
    np.testing.assert_equal(resident(model, backward=False), want)


def test_under_autocast_statistics_stay_wide() -> None:
    want = resident(users_gpt())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = resident(users_gpt())
    for key in [(2, "resid_post", "forward", "variance"), (0, "q", "backward", "variance"),
                (2, "mlp_down", "weight_grad", "second_moment")]:  # fmt: skip
        assert got[key] == pytest.approx(want[key], rel=0.05)
        assert got[key] != want[key]
    assert got[1, "mlp_up", "weight", "variance"] == want[1, "mlp_up", "weight", "variance"]


@pytest.mark.parametrize("way", ["blocks", "whole", "in place"])
def test_compiled_models_are_measured_as_they_were_written(way: str) -> None:
    model: Any = users_gpt()
    if way == "blocks":
        layers = model.transformer["h"]
        for place, layer in enumerate(list(layers)):
            layers[place] = torch.compile(layer, backend="eager")
    elif way == "whole":
        model = torch.compile(model, backend="eager")
    else:
        model.compile(backend="eager")
    np.testing.assert_equal(resident(model), resident(users_gpt()))


def test_a_shared_block_reads_as_many_layers() -> None:
    got = resident(Shared())
    variances = [got[layer, "resid_post", "forward", "variance"] for layer in range(4)]
    assert variances == sorted(variances)
    assert len(set(variances)) == 4
