"""CSV: the readings alone, so that every tool reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from initscope.errors import UsageError
from initscope.profile import COLUMNS, Profile, concat

MAGIC = ",".join(COLUMNS).encode()


def encode(profiles: Sequence[Profile]) -> bytes:
    """Write the long table of all profiles, in full precision; ``NaN`` and ``inf`` as such."""
    table = concat([profile.table for profile in profiles])
    text = table.to_csv(columns=list(COLUMNS), index=False, na_rep="NaN", lineterminator="\n")
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
