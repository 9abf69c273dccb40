"""The baseline's file: JSON that git can show line by line, with a version.

``{"checks": {name: {"config", "rule", "run", "series": […]}}, "generator", "schema"}``; a series
is on a line of its own: its ``mean`` and ``spread`` over seeds at each ``layer``, in six digits
(see :class:`~initscope.baseline.series.Means`); ``null`` is a mean that is not finite.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypedDict

from initscope import __version__
from initscope.baseline.series import series_of
from initscope.errors import UsageError
from initscope.files import read
from initscope.profile import Profile
from initscope.store.kinds import checked, shape_of
from initscope.store.schema import Head, configuration, head

# Schema versions:
# 1: rule, config and run of each named check; its series. (0.1.0)
SCHEMA_VERSION = 1


class _Document(TypedDict):
    schema: int
    generator: str
    checks: dict[str, Any]


class Entry(Head):
    """A named check."""

    series: list[Any]


class _Series(TypedDict):
    site: str
    direction: str
    statistic: str
    layer: list[int]
    mean: list[float | None]
    spread: list[float | None]


_DOCUMENT, _ENTRY, _SERIES = shape_of(_Document), shape_of(Entry), shape_of(_Series)


def summarise(named: Mapping[str, Profile]) -> dict[str, Any]:
    """Return the baseline of profiles, each under its check's name, ready for :func:`dumps`."""
    checks = {
        name: {**head(profile), "series": list(_summary(profile))}
        for name, profile in named.items()
    }
    return {"schema": SCHEMA_VERSION, "generator": f"initscope {__version__}", "checks": checks}


def _summary(profile: Profile) -> Iterator[dict[str, Any]]:
    for series in series_of(profile).values():
        found = series.means()
        assert found is not None, "its own layers were recorded"
        yield {
            **series.key._asdict(),
            "layer": found.layers, "mean": _rounded(found.mean), "spread": _rounded(found.spread),
        }  # fmt: skip


def _rounded(values: Iterable[float]) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


_line = partial(json.dumps, sort_keys=True, allow_nan=False)
_DEEPEST = 3  # what is in a series, a configuration or a run stays on one line


def dumps(document: Mapping[str, Any]) -> str:
    """Write a baseline, so that git shows each series, and each fact of a run, that changed."""
    return _lines(document, 0) + "\n"


def _lines(value: Any, depth: int) -> str:  # noqa: ANN401 - anything that JSON can hold
    if depth > _DEEPEST or not value or not isinstance(value, dict | list):
        return _line(value)
    pad = "\n" + "  " * depth
    if isinstance(value, list):
        return f"[{pad}  " + f",{pad}  ".join(_lines(v, depth + 1) for v in value) + f"{pad}]"
    items = (f"{_line(key)}: {_lines(value[key], depth + 1)}" for key in sorted(value))
    return f"{{{pad}  " + f",{pad}  ".join(items) + f"{pad}}}"


def load(path: str | Path) -> dict[str, Any]:
    """Read a baseline from a file (``-`` is stdin).

    Raises:
        UsageError: for a file that is missing, damaged, of another kind, or of a newer initscope.
    """
    data = read(path)
    try:
        return loads(data)
    except UsageError as error:
        raise UsageError(f"cannot read the baseline {path}: {error}") from error


def loads(text: str | bytes) -> dict[str, Any]:
    """Read back what :func:`dumps` wrote.

    Raises:
        UsageError: for anything else, saying of "it" what is wrong.
    """
    try:
        loaded = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"it is not JSON, or damaged ({error})") from error
    document = checked(_of_this_version(loaded), _DOCUMENT, "the document")
    if not document["checks"]:
        raise UsageError("it holds no checks; save it again with --save-baseline")
    for name, entry in document["checks"].items():
        _require_sound(checked(entry, _ENTRY, f"check {name!r}"), f"check {name!r}")
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _of_this_version(loaded: object) -> object:
    version = loaded.get("schema") if isinstance(loaded, dict) else None
    if not isinstance(loaded, dict) or type(version) is not int or "checks" not in loaded:
        raise UsageError("it is no baseline of initscope; --save-baseline writes one")
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"written by a newer initscope (schema {version}, this one reads {SCHEMA_VERSION}): "
            "upgrade with pip install -U initscope"
        )
    if version < SCHEMA_VERSION:
        raise UsageError(f"there has never been a schema {version}; it is damaged")
    return loaded


def _require_sound(entry: dict[str, Any], what: str) -> None:
    """Refuse an entry that could not be compared with a profile, or only in part."""
    _, run = configuration(entry)
    if not run.seeds:
        raise UsageError(f"{what} was measured with no seeds; save it again with --save-baseline")
    if not entry["series"]:
        raise UsageError(f"{what} has no series; save it again with --save-baseline")
    for position, one in enumerate(entry["series"], start=1):
        where = f"series {position} of {what}"
        series = checked(one, _SERIES, where)
        lengths = {len(series[name]) for name in ("layer", "mean", "spread")}
        if len(lengths) > 1 or 0 in lengths:
            raise UsageError(f"{where} has not a mean and a spread for each of its layers")
        numbers = [*(value for value in series["mean"] if value is not None), *series["spread"]]
        if not all(value is not None and abs(value) <= sys.float_info.max for value in numbers):
            raise UsageError(f"{where} has a spread, or a number, that is not finite")
