"""A training loop to be watched, the same whether it is or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

import initscope
from initscope.training import TrainingWatch

Values = dict[tuple[int, str, str, str], float]


def batches(number: int, vocab: int = 97) -> list[Tensor]:
    """Draw batches (2, 25) of token ids, always the same."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(vocab, (2, 25), generator=generator) for _ in range(number)]


def adam(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def train(
    model: nn.Module,
    steps: int,
    around: AbstractContextManager[Any] | None = None,
    *,
    optimiser: torch.optim.Optimizer | None = None,
    accumulate: int = 1,
    after: Callable[[int], object] = lambda _step: None,
) -> list[Tensor]:
    """Train for some steps inside a context; returns every micro-batch's loss."""
    optimiser = optimiser or adam(model)
    torch.manual_seed(3)
    losses, given = [], iter(batches(steps * accumulate))
    with around or nullcontext():
        for step in range(steps):
            for ids in (next(given) for _ in range(accumulate)):
                _, loss = model(ids[:, :-1], ids[:, 1:])
                (loss / accumulate).backward()
                losses.append(loss.detach())
            optimiser.step()
            optimiser.zero_grad()
            after(step)
    return losses


def quiet(model: nn.Module, every: int = 1, **options: Any) -> TrainingWatch:
    """Watch without a word about verdicts."""
    return initscope.watch(model, every=every, **{"on_verdict": None, **options})


def watched(model: nn.Module, steps: int, every: int = 1, **options: Any) -> TrainingWatch:
    """Train a model, and return what watched it."""
    w = quiet(model, every, **options)
    train(model, steps, w)
    return w


def values(profile: initscope.Profile | None) -> Values:
    """Return a profile's readings by key."""
    assert profile is not None
    rows = profile.table[["layer", "site", "direction", "statistic", "value"]]
    return {(a, b, c, d): e for a, b, c, d, e in rows.itertuples(index=False, name=None)}


def hooks(model: nn.Module) -> int:
    """Count the hooks on a model's modules and parameters."""
    of_modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return of_modules + sum(len(p._backward_hooks or ()) for p in model.parameters())
