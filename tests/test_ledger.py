"""The ledger: which operations write to a tensor, by whom, and what is one write."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from initscope.ledger import Ledger
from initscope.provenance import Write


def writes(ledger: Ledger, tensor: Tensor) -> list[Write]:
    found = ledger.writes(tensor)
    assert found is not None
    return list(found)


def seen(make: Callable[[], Tensor]) -> list[str]:
    """Return how a tensor was written."""
    with Ledger() as ledger:
        tensor = make()
    return [write.how for write in writes(ledger, tensor)]


def linear(then: Callable[[nn.Linear], object]) -> Callable[[], Tensor]:
    def make() -> Tensor:
        module = nn.Linear(8, 4)
        then(module)
        return module.weight

    return make


def scale(module: nn.Linear) -> None:
    with torch.no_grad():
        module.weight *= 0.5


def replace(module: nn.Linear) -> None:
    module.weight = nn.Parameter(torch.zeros(4, 8))


def through_numpy(module: nn.Linear) -> None:
    module.weight = nn.Parameter(torch.from_numpy(np.ones((4, 8), np.float32)))


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (lambda _: None, ["kaiming_uniform_"]),
        (lambda m: nn.init.normal_(m.weight), ["kaiming_uniform_", "normal_"]),
        (lambda m: nn.init.trunc_normal_(m.weight), ["kaiming_uniform_", "trunc_normal_"]),
        (lambda m: nn.init.orthogonal_(m.weight), ["kaiming_uniform_", "orthogonal_"]),
        (lambda m: nn.init.xavier_uniform_(m.weight), ["kaiming_uniform_", "xavier_uniform_"]),
        (lambda m: m.weight.data.normal_(), ["kaiming_uniform_", "normal_"]),
        (scale, ["kaiming_uniform_", "mul_"]),
        (replace, ["zeros"]),
        (lambda m: setattr(m.weight, "data", torch.randn(4, 8) * 2), ["mul"]),
        (lambda m: m.half(), ["kaiming_uniform_"]),
        (lambda m: m.weight.data.t_().t_(), ["kaiming_uniform_"]),
        (lambda m: m.to_empty(device="cpu"), []),
        (lambda m: m.reset_parameters(), ["kaiming_uniform_"] * 2),
    ],
)
def test_each_way_of_writing(then: Callable[[nn.Linear], object], expected: list[str]) -> None:
    assert seen(linear(then)) == expected


@pytest.mark.parametrize("times", [1, 2, 3])
def test_one_call_is_one_write_however_many_operations_it_takes(times: int) -> None:
    def make() -> Tensor:
        weight = torch.empty(64, 64)
        for _ in range(times):
            nn.init.trunc_normal_(weight, a=-0.5, b=0.5)  # draws again what is outside
        return weight

    assert seen(make) == ["trunc_normal_"] * times


def test_the_parts_that_one_line_writes_are_one_write() -> None:
    with Ledger() as ledger:
        experts = torch.empty(3, 4, 4)
        for one in experts:
            nn.init.normal_(one)
        half = torch.empty(4, 4)
        nn.init.normal_(half[:2])
    (whole,) = writes(ledger, experts)
    (part,) = writes(ledger, half)
    assert whole.share == pytest.approx(1)
    assert part.share == pytest.approx(0.5)


def test_a_write_knows_its_function_line_and_default() -> None:
    with Ledger() as ledger:
        module = nn.Linear(8, 4)
        scale(module)
    first, second = writes(ledger, module.weight)
    here = test_a_write_knows_its_function_line_and_default.__name__
    line = scale.__code__.co_firstlineno + 2
    assert (first.by, first.default) == (here, "Linear.reset_parameters")
    assert (second.by, second.where, second.default) == ("scale", f"test_ledger.py:{line}", "")
    assert (first.kind, second.kind) == ("draw", "change")


def test_a_truncation_is_known_in_standard_deviations() -> None:
    with Ledger() as ledger:
        weight = torch.empty(8, 8)
        nn.init.trunc_normal_(weight, std=0.02)
        nn.init.trunc_normal_(weight, mean=1.0, std=0.5, a=0.0, b=3.0)
        nn.init.normal_(weight)
    assert [w.cut for w in writes(ledger, weight)] == [pytest.approx(100), 2.0, math.inf]


def test_memory_on_meta_is_watched_like_any_other() -> None:
    with Ledger() as ledger, torch.device("meta"):
        module = nn.Linear(8, 4)
        nn.init.normal_(module.weight)
    assert [w.how for w in writes(ledger, module.weight)] == ["kaiming_uniform_", "normal_"]


def test_memory_from_outside_is_not_taken_for_unwritten() -> None:
    with Ledger() as ledger:
        module = nn.Linear(8, 4)
        through_numpy(module)
    found = ledger.writes(module.weight)
    assert found is None or [write.kind for write in found] == ["created"]
    assert ledger.writes(torch.zeros(3)) is None


def test_memory_that_is_used_again_starts_anew() -> None:
    with Ledger() as ledger:
        for _ in range(200):
            torch.ones(16)
        kept = torch.empty(16)
    assert ledger.writes(kept) == ()


def test_the_numbers_are_those_without_a_ledger() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(8, 4).weight
    torch.manual_seed(0)
    with Ledger():
        watched = nn.Linear(8, 4).weight
    assert torch.equal(plain, watched)
