"""A block's linear maps: the same as PyTorch's, whoever computes them and whatever is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from initscope import recall
from initscope.config import GPTConfig
from initscope.crew import ALONE, Crew, hired
from initscope.recall import Recalled, places, product, told, unread

X = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    """Two maps, as a block has them."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.up, self.down = Recalled(24, 60, bias), Recalled(60, 24, bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.up(x).relu())
        return out


def gradient(model: nn.Module) -> Tensor:
    x = X.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(x).square().sum(), x)
    return found


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut even small products."""
    monkeypatch.setattr(recall, "PART", 7)


@pytest.mark.parametrize("helps", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_product_is_the_same_whoever_computes_it(threads: int, helps: bool) -> None:
    matrix = torch.randn(24, 61)
    with hired(threads, helps=helps) as crew:
        found = product(X, matrix, crew)
    torch.testing.assert_close(found, X @ matrix)
    assert torch.equal(found, product(X, matrix, ALONE))


def test_a_crew_may_share_within_its_own_job() -> None:
    matrix = torch.randn(24, 61)
    for helps in (True, False):
        with hired(1, helps=helps) as crew:
            task = crew.submit(lambda crew=crew: product(X, matrix, crew))  # type: ignore[misc]
            torch.testing.assert_close(task.result(), X @ matrix)


def test_outside_the_engine_it_is_an_ordinary_linear_map() -> None:
    model = Two()
    model(X).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("bias", [True, False])
def test_what_is_known_gives_the_same_gradient(bias: bool) -> None:
    model = Two(bias=bias).requires_grad_(requires_grad=False)
    want = gradient(model)
    outputs = places(X, {"up": 60, "down": 24}, range(3, 5))[4]
    with torch.no_grad(), told(model, ALONE, into=outputs):
        end = model(X)
    assert torch.equal(outputs["down"], end)
    assert outputs["up"].shape == (2, 5, 60)
    with told(model, ALONE, known=outputs):
        torch.testing.assert_close(gradient(model), want)
    assert model.up.known is None
    assert model.up.crew is None


def test_what_is_known_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = Two().requires_grad_(requires_grad=False), []

    def counting(x: Tensor, matrix: Tensor, crew: Crew, into: Tensor | None = None) -> Tensor:
        calls.append(matrix.shape)
        return product(x, matrix, crew, into)

    monkeypatch.setattr(recall, "product", counting)
    known = {"up": torch.ones(2, 5, 60)}
    with told(model, ALONE, known=known, nobody_reads={"down"}):
        out = model(X.clone().requires_grad_())
        assert calls == []
        assert not out.any()  # nobody reads it
        out.sum().backward()
    assert calls == [(24, 60), (60, 24)]  # the gradients of both


def test_only_a_norm_reads_the_end_of_a_branch() -> None:
    shape = {"n_layer": 1, "n_embd": 8, "n_head": 1}
    assert unread(GPTConfig(**shape, norm="pre")) == {"mlp_down"}  # type: ignore[arg-type]
    assert unread(GPTConfig(**shape, norm="post")) == frozenset()  # type: ignore[arg-type]
