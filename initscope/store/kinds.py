"""Is what a file holds of the kind that the code expects? Says what is not, in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import NoneType
from typing import Any, Literal, NamedTuple, get_origin, get_type_hints

from initscope.errors import UsageError, unknown

_INT64 = range(-(2**63), 2**63)


class Kind(NamedTuple):
    """What a value must be, in words, and whether it is."""

    words: str
    fits: Callable[[Any], bool]


class Shape(NamedTuple):
    """The fields of an object, and which of them it cannot do without."""

    kinds: dict[str, Kind]
    required: frozenset[str]


def _is_whole(value: object) -> bool:
    return type(value) is int and value in _INT64


def _is_finite(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _is_list(value: object, *types: type) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= set(types)


def _are_whole(value: Any) -> bool:  # noqa: ANN401 - anything that JSON can hold
    return _is_list(value, int) and all(map(_INT64.__contains__, value))


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and set(map(type, value.values())) <= {str}


# By type hint. A number of a series is checked where it becomes a float.
_KINDS: dict[Any, Kind] = {
    bool: Kind("true or false", lambda value: isinstance(value, bool)),
    int: Kind("a whole number", _is_whole),
    int | None: Kind("a whole number or null", lambda value: value is None or _is_whole(value)),
    float: Kind("a finite number", _is_finite),
    str: Kind("a text", lambda value: isinstance(value, str)),
    Literal: Kind("a text", lambda value: isinstance(value, str)),
    list[int]: Kind("a list of whole numbers", _are_whole),
    tuple[int, ...]: Kind("a list of whole numbers", _are_whole),
    list[float | None]: Kind(
        "a list of numbers and nulls", lambda value: _is_list(value, int, float, NoneType)
    ),
    list[Any]: Kind("a list", lambda value: isinstance(value, list)),
    dict[str, str]: Kind("an object of texts", _are_texts),
    dict[str, Any]: Kind("an object", lambda value: isinstance(value, dict)),
}


# What JSON can hold besides an object; a bool is an int to Python, so it comes first.
_NOUNS = {
    bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list",
    NoneType: "null",
}  # fmt: skip


def shape_of(cls: type) -> Shape:
    """Read the fields off a dataclass (those without default are required) or a TypedDict."""
    hints = get_type_hints(cls)
    if dataclasses.is_dataclass(cls):
        required = {field.name for field in dataclasses.fields(cls) if _has_no_default(field)}
    else:
        required = cls.__required_keys__  # type: ignore[attr-defined]
    kinds = {name: _KINDS[Literal if get_origin(hint) is Literal else hint]
             for name, hint in hints.items()}  # fmt: skip
    return Shape(kinds, frozenset(required))


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def checked(value: object, shape: Shape, what: str) -> dict[str, Any]:
    """Return an object of a file as a dictionary once every field is of its kind.

    Raises:
        UsageError: for a field that is unknown, missing, or of another kind.
    """
    if not isinstance(value, dict):
        raise UsageError(f"{what} is {_kind_of(value)}, but should be an object")
    for name in value:
        if name not in shape.kinds:
            raise unknown(f"field of {what}", name, shape.kinds)
    for name, kind in shape.kinds.items():
        if name not in value and name in shape.required:
            raise UsageError(f"{what} has no {name!r}")
        if name in value and not kind.fits(value[name]):
            raise UsageError(f"{name!r} of {what} should be {kind.words}")
    return value


def _kind_of(value: object) -> str:
    return next(noun for kind, noun in _NOUNS.items() if isinstance(value, kind))
