"""Measured, a model is as it was before, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resident_readings import resident
from small import ids
from users_gpt import users_gpt


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
        self.calls: Tensor
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
    stepped: list[Tensor] = []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(stepped.append)
    resident(model)
    assert stepped == []
    tokens = ids()
    model(tokens[:, :-1], tokens[:, 1:])[1].backward()
    assert len(stepped) == len(list(model.parameters()))


def test_hooks_are_gone_after_a_failure() -> None:
    model = users_gpt()
    with pytest.raises(IndexError):
        resident(model, ids(length=80))  # beyond the position table
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
