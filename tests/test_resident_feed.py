"""What goes into a model and comes out of it is understood, or said once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from initscope.errors import MeasurementError, UsageError
from initscope.resident import feed
from resident_readings import assert_same, resident
from small import ids
from users_gpt import users_gpt


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


@pytest.mark.parametrize(
    ("batch", "counted"),
    [
        (torch.ones(2, 5, dtype=torch.long), 8),
        ({"idx": torch.ones(2, 5).long(), "targets": torch.tensor([[1, 2, -1, 3, 4]] * 2)}, 8),
        ({"input_ids": torch.ones(2, 5).long(), "labels": torch.tensor([[0, 1, -100, 2, 3]])}, 3),
        ((torch.ones(2, 5).long(), torch.tensor([[1, -1, 2, 3, 4]] * 2)), 8),
        ({"x": torch.ones(3, 5)}, 3),
    ],
)
def test_the_tokens_that_a_loss_is_the_mean_of_are_counted(batch: object, counted: int) -> None:
    assert feed(users_gpt(), batch).counted() == counted
