"""The meta path: a model built on the meta device, given memory, and initialised in place."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn

from initscope.auditing.holding import Labels, held
from initscope.ledger import Ledger
from initscope.own import Subject
from initscope.provenance import MetaPath

INITIALISERS = ("init_weights", "initialize_weights", "reset_parameters")


def meta_path(
    subject: Subject,
    model: nn.Module,
    labels: Labels,
    *,
    wanted: bool | None,
) -> MetaPath | None:
    """Take the meta path; None where it is not ``wanted``, or nothing promises that it exists."""
    how, _ = initialiser(model)
    if wanted is False or (wanted is None and not how.startswith(type(model).__name__)):
        return None
    device = next(model.parameters()).device
    ledger = Ledger()
    try:
        with torch.random.fork_rng(devices=[]), ledger:
            torch.manual_seed(1)  # another draw: a distribution is compared, not its numbers
            with torch.device("meta"):
                again = subject.factory.build()
            again.to_empty(device=device)
            how, initialise = initialiser(again)
            initialise()
    except Exception as error:  # noqa: BLE001 - a user's code, on a path that it may not know
        return MetaPath(how=how, error=f"{type(error).__name__}: {error}".partition("\n")[0])
    return MetaPath(how=how, held=tuple(held(again, ledger, labels)))


def initialiser(model: nn.Module) -> tuple[str, Callable[[], object]]:
    """Return what initialises a model that was given memory, and its name.

    A method of the whole model; else what FSDP calls, ``reset_parameters`` of each module that
    holds parameters, and then ``_init_weights`` where the model applies one to its modules.
    """
    for name in INITIALISERS:
        method = getattr(model, name, None)
        if callable(method) and not _required(method):
            return f"{type(model).__name__}.{name}()", method
    each = getattr(model, "_init_weights", None)
    how = "reset_parameters() of each module"
    if not callable(each):
        return how, lambda: _reset(model)

    def both() -> None:
        _reset(model)
        model.apply(each)

    return f"{how}, then apply(_init_weights)", both


def _required(method: Callable[..., object]) -> bool:
    parameters = inspect.signature(method).parameters.values()
    named = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return any(p.default is p.empty and p.kind not in named for p in parameters)


def _reset(model: nn.Module) -> None:
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset) and module is not model:
            with torch.no_grad():
                reset()
