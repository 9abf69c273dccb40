"""A user's model by one string: where its code is, and how it is built at any depth.

``package.module:factory``, ``path/to/model.py:Class`` or ``hf:NAME|DIR|config.json``. Code runs
only from where the user says it is.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from torch import nn

from initscope.errors import MeasurementError, UsageError, unknown

# What others call a field of GPTConfig, the likeliest first.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "n_layer": ("n_layer", "num_hidden_layers", "n_layers", "num_layers", "depth", "layers",
                "num_blocks", "n_blocks"),
    "n_embd": ("n_embd", "hidden_size", "d_model", "dim", "width", "n_embed", "embed_dim",
               "emb_dim", "embedding_dim", "model_dim", "hidden_dim"),
    "n_head": ("n_head", "num_attention_heads", "n_heads", "num_heads", "heads"),
    "n_kv_head": ("n_kv_head", "num_key_value_heads", "n_kv_heads", "num_kv_heads"),
    "d_ff": ("d_ff", "intermediate_size", "ffn_dim", "n_inner", "ff_dim", "mlp_dim", "ffn_hidden"),
    "vocab_size": ("vocab_size", "n_vocab", "num_tokens", "vocab"),
    "block_size": ("block_size", "max_position_embeddings", "n_positions", "max_seq_len", "n_ctx",
                   "context_length", "max_seq_length", "max_len", "seq_len"),
}  # fmt: skip

_FORMS = "package.module:factory, path/to/model.py:Class or hf:NAME"


@dataclass(frozen=True)
class Factory:
    """Builds a model from named arguments.

    Args:
        target: what the user typed.
        make: takes the arguments by name.
        defaults: the arguments it knows, with what they are where nothing is said (None where
            something must be).
        given: arguments from the user.
        depth_arg: the name of the one that says the depth; empty where there is none.
    """

    target: str
    make: Callable[..., Any]
    defaults: dict[str, Any]
    given: dict[str, Any] = field(default_factory=dict)
    depth_arg: str = ""

    def name_of(self, name: str) -> str:
        """Return what the factory calls a field of GPTConfig; empty if it has none."""
        if name == "n_layer" and self.depth_arg:
            return self.depth_arg
        return next((one for one in SYNONYMS.get(name, ()) if one in self.defaults), "")

    def value(self, name: str) -> Any:  # noqa: ANN401 - as the user has it
        """Return what a field of GPTConfig is, as far as the arguments say."""
        own = self.name_of(name)
        return self.given.get(own, self.defaults.get(own))

    def using(self, fields: dict[str, Any]) -> Factory:
        """Lay fields of GPTConfig over the arguments, by the names that the factory has.

        Raises:
            UsageError: for a field that no argument stands for.
        """
        for name in fields:
            if not self.name_of(name):
                flag = name.replace("_", "-")
                raise UsageError(
                    f"--{flag}: {self.target} has no argument for it; its arguments are "
                    f"{', '.join(self.defaults) or 'none'} (--model-arg NAME=VALUE sets one)"
                )
        named = {self.name_of(name): value for name, value in fields.items()}
        return dataclasses.replace(self, given={**self.given, **named})

    def build(self) -> nn.Module:
        """Build the model.

        Raises:
            UsageError: where what was named is no model.
            MeasurementError: where the user's code fails.
        """
        try:
            model = self.make(**self.given)
        except Exception as error:
            if os.environ.get("INITSCOPE_DEBUG"):
                raise
            said = ", ".join(f"{name}={value!r}" for name, value in self.given.items())
            raise MeasurementError(
                f"{self.target} could not be built with ({said}): {type(error).__name__}: {error} "
                "(INITSCOPE_DEBUG=1 shows where)"
            ) from error
        if not isinstance(model, nn.Module):
            raise UsageError(f"{self.target} makes a {type(model).__name__}, not an nn.Module")
        return model


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
        from initscope.hub import hub_factory

        factory = hub_factory(target)
    else:
        found, module = resolve(target)
        factory = _python_factory(target, found, module)
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


# --- a factory in Python ---


def _python_factory(target: str, found: Any, module: ModuleType) -> Factory:  # noqa: ANN401
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
    found: Any,
    module: ModuleType,
    required: Sequence[str],
) -> tuple[str, type] | None:
    """Return (argument, class) where the model takes one configuration object.

    The class is the argument's annotation, or else the one in the module that has a depth.
    """
    if len(required) != 1 or any(required[0] in names for names in SYNONYMS.values()):
        return None
    (name,) = required
    for kind in (_annotation(found, name), *_neighbours(module)):
        if isinstance(kind, type) and _has_depth(kind):
            return name, kind
    raise UsageError(
        f"{getattr(found, '__name__', found)} needs {name!r}, and no class in its file makes one "
        "with a number of layers; write a function that builds the model, and name that"
    )


def _annotation(found: Any, name: str) -> object:  # noqa: ANN401
    function = found.__init__ if isinstance(found, type) else found
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
