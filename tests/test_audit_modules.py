"""initscope audit of modules of one's own: memory that nothing filled, and stacks of experts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from initscope.provenance.faults import faults
from planted import PlainGPT, audited, sound


class Gain(nn.Module):
    """A module of one's own, whose memory is filled by a call that is easily forgotten."""

    def __init__(self, width: int, *, reset: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.shift: torch.Tensor
        self.register_buffer("shift", torch.empty(width))
        if reset:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight + self.shift


@pytest.mark.parametrize("reset", [True, False])
def test_a_forgotten_reset_leaves_memory_as_it_was(reset: bool) -> None:
    def init(model: PlainGPT) -> None:
        model.norm = nn.Sequential(model.norm, Gain(64, reset=reset))  # type: ignore[assignment]
        sound(model)

    found = faults(audited(init))
    assert [fault.paths for fault in found if fault.code == "never-written"] == (
        [] if reset else [("norm.1.weight",), ("norm.1.shift",)]
    )
    assert not reset or not found


class Experts(nn.Module):
    """Four experts of one hidden layer, their matrices in one tensor; the router is left out."""

    def __init__(self, width: int, inner: int, *, each: bool) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(4, width, inner))
        self.down = nn.Parameter(torch.empty(4, inner, width))
        for stack in (self.up, self.down):
            for part in stack if each else [stack]:
                nn.init.xavier_normal_(part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(torch.einsum("btd,edf->btef", x, self.up))
        return torch.einsum("btef,efd->btd", hidden, self.down) / 4


@pytest.mark.parametrize("each", [True, False])
def test_the_fan_in_of_a_stack_of_experts_is_that_of_one(each: bool) -> None:
    def init(model: PlainGPT) -> None:
        sound(model)
        for layer in model.layers:
            layer.w1 = layer.w3 = nn.Identity()
            layer.w2 = Experts(64, 192, each=each)

    found = [fault for fault in faults(audited(init)) if fault.code == "expert-fan-in"]
    assert len(found) == (0 if each else 16)
    if found:
        assert "(4, 64, 192) is a stack of matrices, one an expert, and xavier_no" in found[0].text
        assert "took its fan_in for 12288" in found[0].text
