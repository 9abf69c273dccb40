"""Readers of single values: each returns what it was given, or says what would be right."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from initscope.bounds import Bounds
from initscope.config import PRESETS, GPTConfig
from initscope.errors import UsageError, unknown
from initscope.options import DTYPES, Options
from initscope.rules import RULES, Rule, get_rule
from initscope.verdict import Level

Reader = Callable[[Any], Any]


def wrong(value: object, right: str) -> UsageError:
    """Build the error for a value, in the words of TOML."""
    return UsageError(f"must be {right}, not {_shown(value)}")


def _shown(value: object) -> str:
    """Write a value as its file does, cut where it gets long.

    >>> _shown([True, "12", {}])
    '[true, "12", a table]'
    """
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    text = json.dumps(value) if isinstance(value, str | bool) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def whole(value: object, minimum: int = 1) -> int:
    """Read a whole number."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= minimum:
        return value
    raise wrong(value, f"a whole number of at least {minimum}")


def number(value: Any, *, zero: bool = False) -> float:  # noqa: ANN401 - what TOML holds
    """Read a finite number above 0, or of at least 0."""
    least = 0.0 if zero else sys.float_info.min
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if real and least <= value <= sys.float_info.max:
        return float(value)
    raise wrong(value, "a number of at least 0" if zero else "a number above 0")


def flag(value: object) -> bool:
    """Read true or false."""
    if isinstance(value, bool):
        return value
    raise wrong(value, "true or false")


def text(value: object) -> str:
    """Read a line of text."""
    if isinstance(value, str) and value.strip() and value.isprintable():
        return value
    raise wrong(value, "a line of text in quotes")


def choice(value: object, kind: str, names: Iterable[str]) -> str:
    """Read one of several names."""
    name = text(value)
    if name not in names:
        raise unknown(kind, name, names)
    return name


def several(value: object, read: Reader, fewest: int = 1) -> tuple[Any, ...]:
    """Read a list without repetitions, or a value alone."""
    items = [read(item) for item in (value if isinstance(value, list) else [value])]
    names = [item.name if isinstance(item, Rule) else item for item in items]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"names {_shown(twice[0])} twice")
    if len(items) < fewest:
        raise UsageError("must not be an empty list")
    return tuple(items)


def matches(selector: str, code: str, name: str) -> bool:
    """Tell whether ``IS001``, ``is00`` or ``depth-exponent`` means that check.

    >>> matches("is00", "IS001", "depth-exponent"), matches("IS01", "IS001", "depth-exponent")
    (True, False)
    """
    return code.startswith(selector.upper()) or selector == name


def selector(value: object, known: Mapping[str, str]) -> str:
    """Read a check's code, the beginning of codes, or a name, that means at least one check."""
    name = text(value)
    if not any(matches(name, *check) for check in known.items()):
        raise unknown("check", name, [*known, *known.values()])
    return name


def rule(value: object, own: Mapping[str, Rule]) -> str | Rule:
    """Read a rule's name: a registered one stays a name, one of the file's own becomes a Rule."""
    name = text(value)
    return name if name in RULES else get_rule(name, own)


def level(value: object) -> Level:
    """Read what a broken check means."""
    return Level(choice(value, "level", [level.value for level in Level]))


def _device(value: object) -> str:
    name = text(value)
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        return name
    raise wrong(value, '"auto", "cpu", "mps", "cuda" or "cuda:N"')


def tokens(value: object, folder: Path) -> str:
    """Read a kind of synthetic tokens, or a file relative to that of the settings."""
    from initscope.tokens import SYNTHETIC

    name = text(value)
    path = folder / name
    if name in SYNTHETIC:
        return name
    if not (path.suffix or "/" in name or path.exists()):
        raise unknown("token source", name, [*SYNTHETIC, "a file's path"])
    return str(path)


def _bound(value: object, name: str) -> float:
    return float(getattr(Bounds.from_dict({name: value}), name))


def _of_type(name: str, hint: Any, default: object) -> Reader:  # noqa: ANN401 - a type hint
    """Return the reader of a dataclass's field; 0 is right where it is the default."""
    if get_origin(hint) is Literal:
        return partial(choice, kind=name.replace("_", " "), names=get_args(hint))
    readers: dict[type, Reader] = {
        bool: flag,
        int: partial(whole, minimum=0 if default == 0 else 1),
        float: partial(number, zero=default == 0),
        str: text,
    }
    return readers[hint]


def _of_fields(kind: type) -> dict[str, Reader]:
    hints = get_type_hints(kind)
    return {
        field.name: _of_type(field.name, hints[field.name], field.default)
        for field in dataclasses.fields(kind)
    }


DEPTH: Reader = partial(several, read=whole)
SHAPE: dict[str, Reader] = {
    **{name: read for name, read in _of_fields(GPTConfig).items() if name != "n_layer"},
    "preset": partial(choice, kind="preset", names=PRESETS),
}
MEASUREMENT: dict[str, Reader] = {
    **_of_fields(Options),
    "device": _device,
    "dtype": partial(choice, kind="dtype", names=DTYPES),
}
BOUNDS: dict[str, Reader] = {
    field.name: partial(_bound, name=field.name) for field in dataclasses.fields(Bounds)
}
