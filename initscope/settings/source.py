"""Finding and parsing a settings file, and saying where in it something is wrong."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from initscope import files
from initscope.errors import UsageError, unknown

OWN, SHARED = "initscope.toml", "pyproject.toml"
TABLE = "tool.initscope"  # of the file shared with other tools


@dataclass(frozen=True)
class Place:
    """A key of a file."""

    file: str
    key: str = ""

    def at(self, key: str) -> Place:
        """Return the place of a key inside this table."""
        return replace(self, key=f"{self.key}.{key}" if self.key else key)

    def item(self, name: str) -> Place:
        """Return the place of an item of this list."""
        return replace(self, key=f"{self.key}[{name}]")

    def error(self, trouble: object) -> UsageError:
        """Build the error that names this place and the trouble with it."""
        return UsageError(": ".join(filter(None, (self.file, self.key, str(trouble)))))

    def unknown(self, key: str, known: Iterable[str]) -> UsageError:
        """Build the error for a key that does not belong here.

        >>> print(Place("initscope.toml", "check").unknown("n_layers", ["n_layer", "rule"]))
        initscope.toml: unknown key 'check.n_layers': did you mean 'n_layer'?
        """
        message = str(unknown("key", key, known))
        whole = message.replace(repr(key), repr(self.at(key).key), 1)
        return UsageError(f"{self.file}: {whole}")


class Source(NamedTuple):
    """A file's settings, and where in it they begin."""

    path: Path
    place: Place
    content: Any


def open_source(path: Path) -> Source:
    """Read the file that was asked for.

    Raises:
        UsageError: if it cannot be read, is not TOML, or has no settings.
    """
    source = _read(path, str(path))
    if source is None:
        raise UsageError(f"{path} has no table [{TABLE}]")
    return source


def find(start: Path) -> Source | None:
    """Read the nearest file with settings, from a folder up to the root of its repository.

    Raises:
        UsageError: if a file on the way cannot be read or is not TOML.
    """
    here = start.absolute()
    for folder in (here, *here.parents):
        for path in (folder / OWN, folder / SHARED):
            # Path.is_file raises for a folder that may not be searched.
            if os.path.isfile(path) and (source := _read(path, os.path.relpath(path, here))):  # noqa: PTH113
                return source
        if os.path.exists(folder / ".git"):  # noqa: PTH110 - as above
            break
    return None


def _read(path: Path, label: str) -> Source | None:
    """Read the settings of a file, if it has any."""
    document = _parse(files.read(path), label)
    if path.name != SHARED:
        return Source(path, Place(label), document)
    tools = document.get("tool")
    if not isinstance(tools, dict) or "initscope" not in tools:
        return None
    return Source(path, Place(label, TABLE), tools["initscope"])


def _parse(data: bytes, label: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # some editors begin a file with a BOM
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{label} is not UTF-8 (at line {line}), as TOML must be") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{label} is not valid TOML: {error}") from error
