"""From a target's text to what it names, and the arguments that the user gives it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from initscope.errors import UsageError, unknown
from initscope.target.factory import Factory
from initscope.target.python import python_factory

_FORMS = "package.module:factory, path/to/model.py:Class or hf:NAME"


def load_factory(target: str, arguments: Sequence[str] = (), depth_arg: str = "") -> Factory:
    """Find what a target names.

    Args:
        target: as the module says.
        arguments: ``name=value`` for the factory or its configuration.
        depth_arg: the argument that says the depth, where no usual name does.

    Raises:
        UsageError: for code, a name or an argument that is not there.
    """
    if target.startswith("hf:"):
        from initscope.target.hub import hub_factory

        factory = hub_factory(target)
    else:
        found, module = resolve(target)
        factory = python_factory(target, found, module)
    given = dict(_argument(text, factory) for text in arguments)
    if depth_arg and depth_arg not in factory.defaults:
        raise unknown("depth argument", depth_arg, factory.defaults or ["none"])
    depth = depth_arg or factory.name_of("n_layer")
    return dataclasses.replace(factory, given=given, depth_arg=depth)


def resolve(target: str) -> tuple[Any, ModuleType]:
    """Import what ``module:name`` or ``file.py:name`` names; return it with its module.

    Raises:
        UsageError: if it is not there, or of another form.
    """
    place, colon, name = target.rpartition(":")
    if not (colon and place and name):
        raise UsageError(f"{target!r} names no model: write {_FORMS}")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_path(place)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            public = [one for one in dir(value) if not one.startswith("_")]
            raise unknown(f"name in {place}", part, public)
        value = getattr(value, part)
    return value, module


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.modules.setdefault(path.stem, module)  # dataclasses look their module up
    sys.path.insert(0, folder)  # as Python does for a script: its neighbours can be imported
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    return module


def _from_path(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))  # as python -m does
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UsageError(
            f"{name} cannot be imported: {type(error).__name__}: {error}; a file is named with "
            "its .py"
        ) from error
    finally:
        sys.path.remove(str(Path.cwd()))


def _argument(text: str, factory: Factory) -> tuple[str, Any]:
    """Read ``name=value``: a number, true, false or none where it reads as one, else text."""
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise UsageError(f"--model-arg {text!r} is not of the form NAME=VALUE")
    if name not in factory.defaults:
        raise unknown("model argument", name, factory.defaults or ["none"])
    return name, _value(value)


def _value(text: str) -> Any:  # noqa: ANN401 - a literal
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
