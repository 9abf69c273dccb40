"""Watching a training loop from outside: which calls are steps, and what becomes of profiles."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from initscope.anatomy import Anatomy, unwrap
from initscope.bounds import Bounds
from initscope.errors import InitscopeError, OutOfBoundsError, UsageError
from initscope.judging import judge
from initscope.profile import Profile
from initscope.resident.engine import locate
from initscope.resident.feed import Feed, called
from initscope.resident.keeping import untouched
from initscope.resident.modes import in_backward
from initscope.resident.scope import Scope
from initscope.training.gate import stand_at
from initscope.training.sinks import Sink
from initscope.training.step import Step
from initscope.verdict import Status, Verdict

Steps = Literal["forward", "manual"] | Optimizer
OnVerdict = Literal["warn", "raise"] | Callable[[Verdict], object] | None


class TrainingWatch:
    """Collects a profile of every ``every``-th step while it is entered.

    Made by :func:`initscope.watch`, whose arguments these are.
    """

    def __init__(  # noqa: PLR0913 - one a matter
        self, model: nn.Module, *, every: int, steps: Steps, start: int, scope: Scope, blocks: str,
        sinks: Sequence[Sink], on_verdict: OnVerdict, bounds: Bounds, ignore: Sequence[str],
        keep: int,
    ) -> None:  # fmt: skip
        self._model, self._every, self._by, self._scope = model, every, steps, scope
        self._blocks, self._sinks, self._on_verdict = blocks, list(sinks), on_verdict
        self._bounds, self._ignore, self._kept = bounds, ignore, keep
        # A forward pass begins the next step, where those are counted; else the first has begun.
        self._number = start - 1 if steps == "forward" else start
        self._seen: int | None = None
        self._now: Step | None = None
        self._located: tuple[object, Anatomy] | None = None
        self._locating = False
        self._first: Profile | None = None
        self._latest: list[Profile] = []
        self._told: frozenset[str] = frozenset()
        self._leave: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        """Stand at the model; nothing inside it is hooked before a step is watched."""
        if self._leave:
            raise UsageError("the watch is already entered")
        self._leave.append(stand_at(self._model, self._before, self._after))
        if isinstance(self._by, Optimizer):
            hook = self._by.register_step_post_hook(lambda *_: self._advance())
            self._leave.append(hook.remove)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Remove every hook, then read out the last step; an error of the loop's own goes first."""
        for leave in self._leave:
            leave()
        self._leave.clear()
        try:
            if kind is None:
                self._read()
            else:
                self._on_verdict = None
                with suppress(InitscopeError, RuntimeError):
                    self._read()
        finally:
            for sink in self._sinks:
                sink.close()

    # --- what a user asks for ---

    @property
    def profiles(self) -> list[Profile]:
        """The first profile and the latest ones, in order."""
        self._settle()
        first = [self._first] if self._first is not None else []
        return [*first, *(one for one in self._latest if one is not self._first)]

    @property
    def profile(self) -> Profile | None:
        """The latest profile; None before a step was measured."""
        self._settle()
        return self._latest[-1] if self._latest else None

    @property
    def verdict(self) -> Verdict | None:
        """What is to be said of the latest profile, beside the first."""
        profile = self.profile
        return None if profile is None else self._judge(profile)

    def step(self) -> None:
        """Say that a step has ended, where ``steps="manual"``.

        Raises:
            UsageError: where steps are counted in another way.
            OutOfBoundsError: as ``on_verdict="raise"`` wants.
        """
        if self._by != "manual":
            raise UsageError('w.step() is for steps="manual": here steps are counted already')
        self._advance()

    def loss(self, loss: Tensor) -> Tensor:
        """Tell the loss of a model that returns none itself; returns it as it is."""
        if self._now is not None:
            self._now.see_loss(loss)
        return loss

    # --- the loop ---

    def _before(self, args: Any, kwargs: Any) -> None:  # noqa: ANN401 - whatever the model takes
        training = unwrap(self._model).training and torch.is_grad_enabled()
        if self._locating or not training or in_backward():
            return
        self._settle()
        if self._now is not None:
            self._now.compile_again()
        if self._by == "forward":
            self._number += 1
        if self._number % self._every == 0 and self._number != self._seen:
            self._read()  # a step whose backward pass never came
            self._seen = self._number
            self._begin(called(args, kwargs))

    def _begin(self, given: Feed) -> None:
        step = Step(self._number, self._anatomy(given), given, self._scope)
        self._now = step
        try:
            step.enter()
        except BaseException:
            self._drop()
            raise

    def _after(self, out: object) -> None:
        if self._now is None or self._locating or self._now.left:
            return
        if out is None:  # the forward pass raised
            self._drop()
        else:
            self._now.leave(out)

    def _drop(self) -> None:
        if self._now is not None:
            self._now.close()
        self._now = None

    def _advance(self) -> None:
        """End a step."""
        self._read()
        self._number += 1

    def _settle(self) -> None:
        """Read out what has had its backward pass."""
        if self._now is not None and self._now.differentiated and not in_backward():
            self._read()

    def _anatomy(self, given: Feed) -> Anatomy:
        """Find the parts; parts of fused projections again for a batch of another shape."""
        shapes = [getattr(x, "shape", None) for x in (*given.args, *given.kwargs.values())]
        if self._located is None or (self._located[0] != shapes and self._cut(self._located[1])):
            self._locating = True
            try:
                with untouched(unwrap(self._model)):
                    self._located = shapes, locate(self._model, given, self._blocks)
            finally:
                self._locating = False
        return self._located[1]

    def _cut(self, anatomy: Anatomy) -> bool:
        taps = [tap for part in anatomy.parts for tap in part.taps if tap.view is not None]
        return any(self._scope.wants(tap.site) for tap in taps)

    # --- profiles ---

    def _read(self) -> None:
        step, self._now = self._now, None
        if step is None:
            return
        step.close()
        profile = step.profile(unwrap(self._model))
        self._first = self._first or profile
        self._latest = [*self._latest, profile][-self._kept :]
        self._write(profile)
        if self._on_verdict is not None:
            self._tell(self._judge(profile))

    def _write(self, profile: Profile) -> None:
        """Send a profile on; a full disk does not end a training run."""
        for sink in list(self._sinks):
            try:
                sink.write(profile)
            except (InitscopeError, OSError) as error:
                self._sinks.remove(sink)
                sink.close()
                warnings.warn(f"{error}; nothing more is written there", stacklevel=2)

    def _judge(self, profile: Profile) -> Verdict:
        return judge(profile, self._bounds, ignore=self._ignore, since=self._first)

    def _tell(self, verdict: Verdict) -> None:
        """Say what is broken that was not before."""
        if callable(self._on_verdict):
            self._on_verdict(verdict)
            return
        broken = frozenset(finding.code for finding in verdict.of(Status.BROKEN))
        if self._on_verdict == "raise" and verdict.broken:
            raise OutOfBoundsError("; ".join(verdict.lines))
        if broken - self._told:
            warnings.warn("; ".join(verdict.lines), stacklevel=2)
        self._told = broken
