"""Saving profiles and loading them: the one registry of formats, each a file beside this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from initscope.errors import UsageError, unknown
from initscope.files import check_writable, read
from initscope.profile import Profile
from initscope.store import as_csv, as_json, as_jsonl, as_parquet


@dataclass(frozen=True, kw_only=True)
class Format:
    """How profiles become bytes, and bytes profiles.

    Args:
        encode: profiles to bytes.
        decode: bytes to profiles; a UsageError says what is wrong with them.
        magic: what the bytes begin with, by which a file without suffix is known.
        binary: whether the bytes are no text.
        check: raises a UsageError when what the format needs is not installed.
    """

    encode: Callable[[Sequence[Profile]], bytes]
    decode: Callable[[bytes], list[Profile]]
    magic: bytes
    binary: bool = False
    check: Callable[[], object] = lambda: None


# By name, which is also the suffix of the files.
FORMATS = {
    "json": Format(encode=as_json.encode, decode=as_json.decode, magic=as_json.MAGIC),
    "jsonl": Format(encode=as_jsonl.encode, decode=as_jsonl.decode, magic=as_jsonl.MAGIC),
    "csv": Format(encode=as_csv.encode, decode=as_csv.decode, magic=as_csv.MAGIC),
    "parquet": Format(
        encode=as_parquet.encode, decode=as_parquet.decode, magic=as_parquet.MAGIC,
        binary=True, check=as_parquet.require,
    ),
}  # fmt: skip


def get_format(name: str) -> Format:
    """Return a format by name.

    Raises:
        UsageError: for a name that is not a format.
    """
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    return FORMATS[name]


def check_saving(format: str, destination: str | Path) -> None:  # noqa: A002 - its plain name
    """Refuse what could not be saved; ask before a long measurement.

    Raises:
        UsageError: for an unknown format, one whose library is missing, or a destination
            that cannot be written.
    """
    chosen = get_format(format)
    chosen.check()
    check_writable(destination, binary=chosen.binary)


def encode(profiles: Sequence[Profile], format: str) -> bytes:  # noqa: A002 - its plain name
    """Turn profiles into the bytes of a file.

    Raises:
        UsageError: for an unknown format, or one whose library is missing.
    """
    return get_format(format).encode(profiles)


def load(path: str | Path) -> list[Profile]:
    """Read the profiles saved in a file (``-`` is stdin).

    The suffix tells the format; without a known one, the first bytes do. Every value is exactly
    as it was saved. Parquet keeps the order of the rows; JSON puts the rows of one depth, seed,
    site, direction and statistic together, in the order in which these first appeared.

    Raises:
        UsageError: for a file that is missing, damaged, of another kind, or of a newer initscope.
    """
    data = read(path)
    try:
        return _format_of(Path(path), data).decode(data)
    except UsageError as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _format_of(path: Path, data: bytes) -> Format:
    if not data:
        raise UsageError("it is empty")
    named = FORMATS.get(path.suffix.lower().removeprefix("."))
    sniffed = (known for known in FORMATS.values() if data.startswith(known.magic))
    found = named or next(sniffed, None)
    if found is None:
        suffixes = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"it holds no profiles; those are saved as {suffixes}")
    return found
