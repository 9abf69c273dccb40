"""A factory in Python: a class or function that takes keywords, or one configuration object."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, get_type_hints

from torch import nn

from initscope.errors import UsageError
from initscope.target.factory import SYNONYMS, Factory

_CONFIGS = frozenset({
    "config", "cfg", "conf", "args", "params", "hparams", "settings", "options", "model_args",
})  # fmt: skip


def python_factory(target: str, found: Any, module: ModuleType) -> Factory:  # noqa: ANN401
    """Return what builds a model by calling ``found``, or that model itself.

    Raises:
        UsageError: for what is neither, or takes an object that nothing here makes.
    """
    if isinstance(found, nn.Module):
        return Factory(target, lambda: found, {})
    if not callable(found):
        raise UsageError(f"{target} is a {type(found).__name__}, not a class or function")
    parameters = _parameters(found)
    required = [name for name, default in parameters.items() if default is None]
    config = _config_class(found, module, required)
    if config is None:
        return Factory(target, found, parameters)
    name, kind = config
    return Factory(target, lambda **given: found(**{name: kind(**given)}), _parameters(kind))


def _parameters(found: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments by name with their defaults, None for one that has none."""
    try:
        listed = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return {}
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    return {p.name: None if p.default is p.empty else p.default for p in listed if p.kind in kinds}


def _config_class(
    found: Any,  # noqa: ANN401 - a class or function
    module: ModuleType,
    required: Sequence[str],
) -> tuple[str, type] | None:
    """Return (argument, class) where the model takes one configuration object.

    The class is the argument's annotation, or else the one in the module that has a depth.
    """
    if len(required) != 1 or any(required[0] in names for names in SYNONYMS.values()):
        return None
    (name,) = required
    others = _neighbours(module) if name.lower() in _CONFIGS else ()
    for kind in (_annotation(found, name), *others):
        if isinstance(kind, type) and _has_depth(kind):
            return name, kind
    raise UsageError(
        f"{getattr(found, '__name__', found)} needs {name!r}, and no class in its file makes one "
        "with a number of layers; write a function that builds the model, and name that"
    )


def _annotation(found: Any, name: str) -> object:  # noqa: ANN401
    function = vars(found).get("__init__", found) if isinstance(found, type) else found
    try:
        return get_type_hints(function).get(name)
    except Exception:  # noqa: BLE001 - a user's annotation that cannot be evaluated says nothing
        return None


def _neighbours(module: ModuleType) -> Iterator[type]:
    """Yield the module's classes, dataclasses first."""
    kinds = [value for value in vars(module).values() if isinstance(value, type)]
    yield from sorted(kinds, key=lambda kind: not dataclasses.is_dataclass(kind))


def _has_depth(kind: type) -> bool:
    return not issubclass(kind, nn.Module) and bool(
        set(SYNONYMS["n_layer"]) & set(_parameters(kind))
    )
