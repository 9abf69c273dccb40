"""Parquet: the long table of all profiles, and what they are in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate, pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

from initscope.errors import UsageError
from initscope.profile import COLUMNS, Profile, concat
from initscope.store.kinds import shape_of
from initscope.store.schema import Head, configuration, document, entries, head

if TYPE_CHECKING:
    import pandas as pd

MAGIC = b"PAR1"

_KEY = b"initscope"


class _Entry(Head):
    rows: int  # a profile is this many rows, following those of the profile before it


_ENTRY = shape_of(_Entry)


def require() -> ModuleType:
    """Return pyarrow.

    Raises:
        UsageError: when it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow: pip install 'initscope[parquet]'") from error
    return pa


def encode(profiles: Sequence[Profile]) -> bytes:
    """Write profiles with everything needed to read them back exactly.

    Raises:
        UsageError: when pyarrow is not installed.
    """
    pa = require()
    saved = document({**head(one), "rows": len(one.table)} for one in profiles)
    long = concat([one.table for one in profiles])
    # Arrow would by default take NaN for a value that is missing.
    columns = {name: pa.array(long[name], type=_type(pa, name), from_pandas=False)
               for name in COLUMNS}  # fmt: skip
    table = pa.table(columns, metadata={_KEY: json.dumps(saved, allow_nan=False)})
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def decode(data: bytes) -> list[Profile]:
    """Read profiles back, rows in their order.

    Raises:
        UsageError: for anything that :func:`encode` of this version, or an older one, did not
            write, and when pyarrow is not installed.
    """
    pa = require()
    try:
        table = pa.parquet.read_table(pa.BufferReader(data), page_checksum_verification=True)
        saved = json.loads((table.schema.metadata or {})[_KEY])
        long = table.select(COLUMNS).cast(pa.schema([(name, _type(pa, name)) for name in COLUMNS]))
        long.validate(full=True)  # texts are texts
    except KeyError as error:
        raise UsageError("it is Parquet, but was not saved by initscope") from error
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise UsageError("it is not Parquet, or damaged") from error
    if any(column.null_count for column in long.columns):
        raise UsageError("it has rows with missing values")
    return _profiles(entries(saved, _ENTRY), long.to_pandas())


def _type(pa: ModuleType, column: str) -> Any:  # noqa: ANN401 - pyarrow ships no types
    types = {"value": pa.float64(), **dict.fromkeys(("n_layer", "seed", "layer"), pa.int64())}
    return types.get(column, pa.string())


def _profiles(saved: Sequence[dict[str, Any]], long: pd.DataFrame) -> list[Profile]:
    """Deal the rows out to their profiles."""
    bounds = list(accumulate((entry["rows"] for entry in saved), initial=0))
    if bounds[-1] != len(long) or any(entry["rows"] < 1 for entry in saved):
        raise UsageError("its rows are not those that were saved")
    profiles = []
    for entry, (start, end) in zip(saved, pairwise(bounds), strict=True):
        config, run = configuration(entry)
        table = long.iloc[start:end].reset_index(drop=True)
        profiles.append(Profile(rule=entry["rule"], config=config, run=run, table=table))
    return profiles
