"""A training loop to be watched, the same whether it is or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

import initscope
from initscope.training import TrainingWatch

Watcher = AbstractContextManager[Any]


def batches(number: int, vocab: int = 97) -> list[Tensor]:
    """Draw batches (2, 25) of token ids, always the same."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(vocab, (2, 25), generator=generator) for _ in range(number)]


def train(
    model: nn.Module,
    steps: int,
    watcher: Callable[[torch.optim.Optimizer], Watcher] = lambda _: nullcontext(),
    *,
    accumulate: int = 1,
    after: Callable[[Any, int], object] = lambda _w, _step: None,
) -> list[Tensor]:
    """Train for some steps inside what ``watcher`` makes; returns every micro-batch's loss."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    torch.manual_seed(3)
    losses, given = [], iter(batches(steps * accumulate))
    with watcher(optimiser) as w:
        for step in range(steps):
            for ids in (next(given) for _ in range(accumulate)):
                _, loss = model(ids[:, :-1], ids[:, 1:])
                (loss / accumulate).backward()
                losses.append(loss.detach())
            optimiser.step()
            optimiser.zero_grad()
            after(w, step)
    return losses


def watched(model: nn.Module, steps: int, every: int = 1, **options: Any) -> TrainingWatch:
    """Train a model, warning of nothing, and return the watch."""
    seen: list[TrainingWatch] = []
    quiet = {"on_verdict": None, **options}
    train(model, steps, lambda _: seen.append(initscope.watch(model, every=every, **quiet)) or seen[0])  # type: ignore[func-returns-value]  # fmt: skip
    return seen[0]


def values(profile: initscope.Profile | None) -> dict[tuple[int, str, str, str], float]:
    """Return a profile's readings by key."""
    assert profile is not None
    rows = profile.table[["layer", "site", "direction", "statistic", "value"]]
    return {(a, b, c, d): e for a, b, c, d, e in rows.itertuples(index=False, name=None)}


def hooks(model: nn.Module) -> int:
    """Count the hooks on a model's modules and parameters."""
    of_modules = sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()
    )  # fmt: skip
    return of_modules + sum(len(p._backward_hooks or ()) for p in model.parameters())
