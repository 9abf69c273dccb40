"""JSON: strict, and compact by keeping the readings of a series together.

``{"schema": 1, "generator": "initscope 0.1.0", "profiles": [{"rule", "config", "run", "series"}]}``

A series is one statistic over the layers: ``layer`` and ``value`` are as long as each other.
What JSON has no number for is ``null`` and counted in ``non_finite``; ``inf`` and ``-inf`` list
the positions of the infinities, so that the other nulls are NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, NotRequired, TypedDict

from initscope.errors import UsageError
from initscope.profile import COLUMNS, Profile
from initscope.store.kinds import checked, shape_of
from initscope.store.schema import Head, configuration, document, entries, head

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

MAGIC = b"{"

_KEYS = ("n_layer", "seed", "site", "direction", "statistic")
_INFINITIES = {"inf": math.inf, "-inf": -math.inf}


class _Entry(Head):
    series: list[Any]


_Series = TypedDict(
    "_Series",
    {
        "n_layer": int,
        "seed": int,
        "site": str,
        "direction": str,
        "statistic": str,
        "layer": list[int],
        "value": list[float | None],
        "non_finite": NotRequired[int],
        "inf": NotRequired[list[int]],
        "-inf": NotRequired[list[int]],
    },
)

_ENTRY, _SERIES = shape_of(_Entry), shape_of(_Series)


def encode(profiles: Sequence[Profile]) -> bytes:
    """Write profiles with everything needed to read them back exactly."""
    saved = document({**head(one), "series": list(_series(one.table))} for one in profiles)
    return (json.dumps(saved, allow_nan=False, separators=(",", ":")) + "\n").encode()


def decode(data: bytes) -> list[Profile]:
    """Read profiles back.

    Raises:
        UsageError: for anything that :func:`encode` of this version, or an older one, did not
            write.
    """
    try:
        loaded = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"it is not JSON, or damaged ({error})") from error
    return [_profile(entry) for entry in entries(loaded, _ENTRY)]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _series(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Split a long table into series, in the order of their first row."""
    import numpy as np

    number = table.groupby(list(_KEYS), sort=False).ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    columns = {name: table[name].to_numpy()[order].tolist() for name in COLUMNS}
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        keys = {name: columns[name][start] for name in _KEYS}
        yield {**keys, "layer": columns["layer"][start:end], **_spell(columns["value"][start:end])}


def _spell(values: list[float]) -> dict[str, Any]:
    """Write numbers as JSON can: the infinite ones by position, NaN as what is left."""
    spelt = [value if math.isfinite(value) else None for value in values]
    if None not in spelt:
        return {"value": spelt}
    infinite = {name: [i for i, value in enumerate(values) if value == infinity]
                for name, infinity in _INFINITIES.items()}  # fmt: skip
    named = {name: positions for name, positions in infinite.items() if positions}
    return {"value": spelt, "non_finite": spelt.count(None), **named}


def _profile(entry: dict[str, Any]) -> Profile:
    config, run = configuration(entry)
    series = [checked(one, _SERIES, f"series {n}") for n, one in enumerate(entry["series"], 1)]
    return Profile(rule=entry["rule"], config=config, run=run, table=_table(entry["rule"], series))


def _table(rule: str, series: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Build the long table, series after series."""
    import numpy as np
    import pandas as pd

    values = [_read(one, f"series {n}") for n, one in enumerate(series, start=1)]
    lengths = [len(value) for value in values]
    if not sum(lengths):
        raise UsageError(f"its profile of {rule!r} has no readings")
    columns = {
        "rule": np.repeat(np.array([rule], dtype=object), sum(lengths)),
        **{key: np.repeat(_column(series, key), lengths) for key in _KEYS},
        "layer": np.array([layer for one in series for layer in one["layer"]], dtype=np.int64),
        "value": np.concatenate(values),
    }
    try:
        return pd.DataFrame({name: columns[name] for name in COLUMNS})
    except UnicodeEncodeError as error:
        raise UsageError("a name in it is not valid Unicode") from error


def _column(series: Sequence[dict[str, Any]], key: str) -> npt.NDArray[Any]:
    import numpy as np

    dtype = np.int64 if key in {"n_layer", "seed"} else object
    return np.array([one[key] for one in series], dtype=dtype)


def _read(series: dict[str, Any], what: str) -> npt.NDArray[np.float64]:
    """Read a series' numbers, having checked that its non-finite ones add up."""
    import numpy as np

    if len(series["layer"]) != len(series["value"]):
        raise UsageError(f"{what} has not as many layers as values")
    try:
        values = np.array(series["value"], dtype=np.float64)
    except OverflowError as error:
        raise UsageError(f"{what} has a number beyond the range of float64") from error
    nulls = set(np.flatnonzero(np.isnan(values)).tolist())
    listed = [position for name in _INFINITIES for position in series.get(name, [])]
    if (
        np.isinf(values).any()
        or len(nulls) != series.get("non_finite", 0)
        or len(set(listed)) != len(listed)
        or not nulls.issuperset(listed)
    ):
        raise UsageError(f"{what} has nulls that do not match its 'non_finite', 'inf' and '-inf'")
    for name, infinity in _INFINITIES.items():
        values[series.get(name, [])] = infinity
    return values
