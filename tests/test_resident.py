"""The resident engine: equal to the streamed one, right on users' models, and without a trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from families import FAMILIES, family
from initscope.construction import build
from initscope.errors import MeasurementError, UsageError
from initscope.resident import feed, measure
from initscope.stream import measure as streamed
from small import ids, plan
from users_gpt import Shared, users_gpt

Values = dict[tuple[int, str, str, str], float]
RELATIVE = 1e-5


def resident(model: nn.Module, batch: object = None, **how: Any) -> Values:
    tokens = ids() if batch is None else batch
    return {r[:4]: r.value for r in measure(model, feed(model, tokens), **how).readings}


def assert_same(got: Values, want: Values, relative: float = RELATIVE) -> None:
    assert set(want) <= set(got)
    for key, value in want.items():
        # Differences: a mean, the excess loss, and m4 / m2² - 3. What cancels sets their size.
        size = {"mean": "max_abs", "loss_excess": "loss"}.get(key[3], "")
        cancelled = 3.0 if key[3] == "kurtosis" else abs(want.get((*key[:3], size), 0.0))
        slack = relative * cancelled
        assert got[key] == pytest.approx(value, rel=relative, abs=slack + 1e-12, nan_ok=True), key


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


# --- without a trace ---


def state(model: nn.Module) -> list[Any]:
    return [
        *(p.detach().clone() for p in model.parameters()),
        *(b.clone() for b in model.buffers()),
        *(p.grad for p in model.parameters()),
        *(None if p.grad is None else p.grad.clone() for p in model.parameters()),
        [m.training for m in model.modules()], torch.get_rng_state(),
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        [bool(p._post_accumulate_grad_hooks) for p in model.parameters()],
    ]  # fmt: skip


class Counting(nn.Module):
    """Wraps a model with a buffer that every call changes, and one that it replaces."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("cache", torch.zeros(2))

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Any:
        self.calls += 1
        self.cache = torch.randn(2)
        return self.inner(idx, targets)


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("how", [{}, {"backward": False}, {"training": False}], ids=str)
def test_a_model_is_left_as_it_was(training: bool, how: dict[str, Any]) -> None:
    model = Counting(users_gpt(dropout=0.1, checkpointing="reentrant")).train(training)
    model.inner.transformer["h"][0].eval()  # type: ignore[index, union-attr]
    tokens = ids()
    model(tokens[:, :-1], tokens[:, 1:])[1].backward()  # gradients that must survive
    before = state(model)
    resident(model, **how)
    after = state(model)
    assert len(before) == len(after)
    assert all(same(a, b) for a, b in zip(before, after, strict=True))


def test_the_step_after_is_the_step_without() -> None:
    """Outputs and gradients of a training step, to the last bit, dropout included."""

    def step(look: Callable[[nn.Module], object]) -> list[Tensor]:
        model, tokens = users_gpt(dropout=0.2), ids()
        torch.manual_seed(3)
        look(model)
        logits, loss = model(tokens[:, :-1], tokens[:, 1:])
        assert loss is not None
        loss.backward()
        return [logits, loss, *(p.grad for p in model.parameters() if p.grad is not None)]

    plain, watched = step(lambda _: None), step(resident)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def test_an_optimiser_inside_the_backward_pass_does_not_step() -> None:
    model = users_gpt()
    stepped = []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(stepped.append)
    resident(model)
    assert stepped == []
    tokens = ids()
    model(tokens[:, :-1], tokens[:, 1:])[1].backward()  # type: ignore[union-attr]
    assert len(stepped) == len(list(model.parameters()))


def test_hooks_are_gone_after_a_failure() -> None:
    model = users_gpt()
    with pytest.raises(IndexError):
        resident(model, ids(length=80))  # beyond the position table
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


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


# --- what goes in and comes out ---


class Returns(nn.Module):
    """A user's model whose output is dressed up."""

    def __init__(self, dress: Callable[[Tensor, Tensor | None], Any]) -> None:
        super().__init__()
        self.inner, self.dress = users_gpt(), dress

    def forward(self, ids: Tensor, y: Tensor | None = None) -> Any:
        return self.dress(*self.inner(ids, y))


@pytest.mark.parametrize(
    "dress",
    [
        lambda logits, _loss: logits,
        lambda logits, _loss: (logits,),
        lambda logits, loss: (loss, logits),
        lambda logits, loss: {"loss": loss, "logits": logits},
        lambda logits, _loss: {"logits": logits},
        lambda logits, _loss: logits.flatten(0, 1),
    ],
)
def test_outputs_of_every_kind_are_understood(dress: Callable[..., Any]) -> None:
    assert_same(resident(Returns(dress)), resident(users_gpt()), 1e-4)


def test_a_loss_alone_is_enough() -> None:
    got, want = resident(Returns(lambda _logits, loss: loss)), resident(users_gpt())
    gone = {"logits", "loss_excess"}
    assert_same(got, {k: v for k, v in want.items() if not gone & set(k)}, 1e-4)


@pytest.mark.parametrize(
    ("dress", "said"),
    [
        (lambda _logits, _loss: "text", "returned a str, without logits or a loss"),
        (lambda logits, _loss: logits[:, -1:], "not one a token.*pass targets"),
    ],
)
def test_what_is_not_understood_is_said_once(dress: Callable[..., Any], said: str) -> None:
    with pytest.raises((UsageError, MeasurementError), match=said):
        resident(Returns(dress))


def test_a_batch_may_be_what_the_model_is_called_with() -> None:
    tokens = ids()
    want = resident(users_gpt())
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    np.testing.assert_equal(resident(users_gpt(), {"idx": x, "targets": y}), want)
    np.testing.assert_equal(resident(users_gpt(), (x, y)), want)


def test_a_batch_of_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a batch is token ids.*not a float32 tensor of shape"):
        resident(users_gpt(), torch.zeros(2, 3))
