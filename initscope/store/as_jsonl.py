"""JSON Lines: a document of :mod:`initscope.store.as_json` a line, one a profile.

A file that grows while a run goes on; a last line that was cut off is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from initscope.errors import UsageError
from initscope.profile import Profile
from initscope.store import as_json

MAGIC = b'{"schema":'


def encode(profiles: Sequence[Profile]) -> bytes:
    """Write a line a profile."""
    return b"".join(as_json.encode([profile]) for profile in profiles)


def decode(data: bytes) -> list[Profile]:
    """Read the profiles of every line that is whole.

    Raises:
        UsageError: for a line that is damaged, naming it, or where none is whole.
    """
    *lines, _unfinished = data.split(b"\n")
    found = [profile for n, line in enumerate(lines, 1) if line for profile in _line(n, line)]
    if not found:
        raise UsageError("it holds no whole profile")
    return found


def _line(number: int, line: bytes) -> list[Profile]:
    try:
        return as_json.decode(line)
    except UsageError as error:
        raise UsageError(f"line {number}: {error}") from error
