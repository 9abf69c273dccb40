"""Profiles of a model during its real training: ``initscope.watch``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import distributed, nn
from torch.optim import Optimizer

from initscope.bounds import Bounds
from initscope.errors import UsageError, unknown
from initscope.judging import selected
from initscope.resident.scope import scope_of
from initscope.training.loop import OnVerdict, Steps, TrainingWatch
from initscope.training.scalars import check_patterns
from initscope.training.sinks import Lines, Sink, TensorBoard, WandB

__all__ = ["TrainingWatch", "watch"]

Theirs = Any  # an object of another library's


def watch(  # noqa: PLR0913 - each has a default, and its name at the call
    model: nn.Module, *, every: int = 100, steps: Steps = "forward", start: int = 0,
    sites: str | Sequence[str] = "lean", jsonl: str | Path | None = None,
    tensorboard: Theirs = None, wandb: Theirs = None, scalars: Sequence[str] = (),
    on_verdict: OnVerdict = "warn", bounds: Bounds | None = None, ignore: Sequence[str] = (),
    keep: int = 100, blocks: str = "",
) -> TrainingWatch:  # fmt: skip
    """Collect profiles of a model while it is trained, and leave its training as it is.

    ``with initscope.watch(model, every=100) as w:`` around the loop; docs/watch.md has more.

    Args:
        model: any module with a stack of blocks, as it is called in the loop.
        every: steps from one profile to the next; 0, ``every``, 2·``every``, … are watched.
        steps: what a step is: ``forward``, each forward pass in training mode with gradients;
            an optimiser, each step of it, the first of whose micro-batches is measured;
            ``manual``, what ``w.step()`` ends.
        start: the first step's number, for a run that is resumed.
        sites: ``lean`` for the stream, the branches, the logits and the stream's gradient;
            ``all`` for everything that ``inspect`` measures; or names of sites.
        jsonl: a file that gets a line a profile; what it holds of the run already stays.
        tensorboard: a ``SummaryWriter``, or a folder.
        wandb: what ``wandb.init()`` returned.
        scalars: patterns of what the latter two get, ``resid_post/*/variance``; a few dozen.
        on_verdict: ``warn`` of what is newly broken, ``raise`` an OutOfBoundsError, call a
            function with each verdict, or None.
        bounds: what is allowed.
        ignore: codes or names of checks to leave out.
        keep: how many of the latest profiles ``w.profiles`` keeps beside the first.
        blocks: the paths of the blocks, where they are not found.

    Raises:
        UsageError: for a request that cannot be right.
    """
    _check_numbers(every=every, keep=keep)
    _check_ways(steps, on_verdict)
    selected(ignore=ignore, training=True)
    check_patterns(scalars)
    return TrainingWatch(
        model, every=every, steps=steps, start=start, scope=scope_of(sites), blocks=blocks,
        sinks=_sinks(jsonl, tensorboard, wandb, scalars), on_verdict=on_verdict,
        bounds=bounds or Bounds(), ignore=ignore, keep=keep,
    )  # fmt: skip


def _check_numbers(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise UsageError(f"{name} must be at least 1, not {number}")


def _check_ways(steps: object, on_verdict: object) -> None:
    if isinstance(steps, str) and steps not in {"forward", "manual"}:
        raise unknown("steps", steps, ("forward", "manual"))
    if not isinstance(steps, str | Optimizer):
        kind = type(steps).__name__
        raise UsageError(f"steps is 'forward', 'manual' or an optimiser of torch's, not a {kind}")
    if isinstance(on_verdict, str) and on_verdict not in {"warn", "raise"}:
        raise unknown("on_verdict", on_verdict, ("warn", "raise"))


def _sinks(
    jsonl: str | Path | None, tensorboard: Theirs, wandb: Theirs, scalars: Sequence[str]
) -> list[Sink]:
    """Open what profiles go to; of several processes, the first alone writes."""
    if distributed.is_available() and distributed.is_initialized() and distributed.get_rank() > 0:
        return []
    sinks: list[Sink] = [Lines(jsonl)] if jsonl is not None else []
    sinks += [TensorBoard(tensorboard, scalars)] if tensorboard is not None else []
    return [*sinks, *([WandB(wandb, scalars)] if wandb is not None else [])]
