"""CSV: the readings alone, so that every tool reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from initscope.errors import UsageError
from initscope.profile import COLUMNS, Profile, concat

MAGIC = ",".join(COLUMNS).encode()


def encode(profiles: Sequence[Profile]) -> bytes:
    """Write the long table of all profiles, in full precision; ``NaN`` and ``inf`` as such.

    Steps of a training run have theirs in a last column.
    """
    columns = list(COLUMNS)
    if profiles and all(profile.run.step is not None for profile in profiles):
        columns.append("step")
    table = concat([profile.table.assign(step=profile.run.step) for profile in profiles])
    text = table.to_csv(columns=columns, index=False, na_rep="NaN", lineterminator="\n")
    return text.encode()


def decode(_data: bytes) -> NoReturn:
    """Refuse: a profile is more than its readings.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        "a CSV has the readings but not the configuration; "
        "save with --json or --parquet what initscope is to show again"
    )
