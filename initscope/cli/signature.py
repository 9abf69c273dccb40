"""Groups of options: a dataclass is written once and serves every command that names it.

A command takes ``shape: Shape``; Typer sees the fields of ``Shape`` as options of their own.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

from initscope.errors import ExitCode


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Spread a command's dataclass parameters into options, and end quietly on a closed pipe."""
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}

    @functools.wraps(function)
    def command(**values: Any) -> None:  # noqa: ANN401 - whatever the options hold
        for name, group in groups.items():
            fields = {field.name: values.pop(field.name) for field in dataclasses.fields(group)}
            values[name] = group(**fields)  # type: ignore[operator]
        _until_closed(functools.partial(function, **values))

    parameters = list(_spread(function, hints, groups))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    del command.__wrapped__
    return command


def _spread(
    function: Callable[..., None], hints: dict[str, Any], groups: dict[str, Any]
) -> Iterator[inspect.Parameter]:
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in groups:
            yield parameter.replace(annotation=hints[name], kind=parameter.KEYWORD_ONLY)
            continue
        group_hints = get_type_hints(groups[name], include_extras=True)
        for field in dataclasses.fields(groups[name]):
            yield inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY,
                default=field.default, annotation=group_hints[field.name],
            )  # fmt: skip


def _until_closed(call: Callable[[], None]) -> None:
    """Run a command; a reader that went away (``| head``) ends it without a word."""
    try:
        call()
        if sys.stdout is not None:  # Python's stand-in for one that was closed
            sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered must not raise again when Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(ExitCode.BROKEN_PIPE) from None
