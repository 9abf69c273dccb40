"""Standing before and behind every call of a model, whether it is compiled or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

Before = Callable[[Any, Any], None]
After = Callable[[object], None]


class _Hook:
    """Calls a function; that of a copy of the model, or of one that was saved, calls nothing."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: object) -> None:
        self._call(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Hook, (_nothing,)


def _nothing(*_args: object) -> None:
    """Do nothing."""


def stand_at(model: nn.Module, before: Before, after: After) -> Callable[[], None]:
    """See every call of a model until what is returned is called.

    ``before`` gets the arguments, positional and named, ``after`` the output, or None where the
    call raised. A model compiled in place (``model.compile()``) would trace hooks into its
    graph, so that its compiled call is wrapped instead.
    """
    compiled = model._compiled_call_impl  # noqa: SLF001 - no public way
    if compiled is not None:
        model._compiled_call_impl = _wrapped(compiled, before, after)  # noqa: SLF001
        return lambda: setattr(model, "_compiled_call_impl", compiled)
    entering = _Hook(lambda _module, args, kwargs: before(args, kwargs))
    leaving = _Hook(lambda _module, _args, out: after(out))
    hooks = [
        model.register_forward_pre_hook(entering, with_kwargs=True),
        model.register_forward_hook(leaving, always_call=True),
    ]

    def leave() -> None:
        for hook in hooks:
            hook.remove()

    return leave


def _wrapped(compiled: Callable[..., Any], before: Before, after: After) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the model takes
        out = None
        before(args, kwargs)
        try:
            out = compiled(*args, **kwargs)
        finally:
            after(out)
        return out

    return call
