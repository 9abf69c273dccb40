"""Leaving a model as it was: random state, buffers, gradients, training mode, compilation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module, *, training: bool | None = None) -> Iterator[None]:
    """Give back a model and the process's random state exactly as they were.

    ``training`` chooses the mode meanwhile; None keeps each module's own.
    """
    with ExitStack() as stack:
        for keep in (_random_state(model), _mode(model, training), _buffers(model),
                     _gradients(model), uncompiled()):  # fmt: skip
            stack.enter_context(keep)
        yield


@contextmanager
def _random_state(model: nn.Module) -> Iterator[None]:
    devices = {p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"}
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - theirs, not ours
    with torch.random.fork_rng(sorted(devices)):
        yield
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002 - as above


@contextmanager
def _mode(model: nn.Module, training: bool | None) -> Iterator[None]:  # noqa: FBT001 - a state
    before = [(module, module.training) for module in model.modules()]
    try:
        if training is not None:
            model.train(training)
        yield
    finally:
        for module, mode in before:
            module.training = mode


@contextmanager
def _buffers(model: nn.Module) -> Iterator[None]:
    """Restore buffers, those that were replaced by others as well."""
    before = [
        (module._buffers, name, buffer, buffer.clone(), buffer._version)  # noqa: SLF001 - no public way
        for module in model.modules() for name, buffer in module._buffers.items()  # noqa: SLF001
        if buffer is not None
    ]  # fmt: skip
    try:
        yield
    finally:
        for owner, name, buffer, copy, version in before:
            owner[name] = buffer
            if buffer._version != version:  # noqa: SLF001 - whether it was written to
                with torch.no_grad():
                    buffer.copy_(copy)


@contextmanager
def _gradients(model: nn.Module) -> Iterator[None]:
    """Put every gradient aside, and what would act on it (an optimiser run inside backward)."""
    before = [(p, p.grad, _hooks(p)) for p in model.parameters()]
    try:
        for parameter, _, hooks in before:
            parameter.grad = None
            _replace_hooks(parameter, {}, hooks)
        yield
    finally:
        for parameter, gradient, hooks in before:
            parameter.grad = gradient
            _replace_hooks(parameter, hooks, hooks)


def _hooks(parameter: nn.Parameter) -> dict[int, Any]:
    return dict(getattr(parameter, "_post_accumulate_grad_hooks", None) or {})


def _replace_hooks(parameter: nn.Parameter, new: dict[int, Any], old: dict[int, Any]) -> None:
    if old:
        registered = parameter._post_accumulate_grad_hooks  # noqa: SLF001 - no public way
        registered.clear()
        registered.update(new)


def uncompiled() -> Any:  # noqa: ANN401 - a context manager
    """Run compiled modules as they were written: hooks inside would not be seen."""
    stance = getattr(torch.compiler, "set_stance", None)  # from torch 2.6 on
    return stance("force_eager") if stance is not None else nullcontext()
