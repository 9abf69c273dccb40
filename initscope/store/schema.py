"""What every saved document says of itself and of its profiles, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypedDict

from initscope import __version__
from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.profile import Profile, Run
from initscope.store.kinds import Shape, checked, shape_of

# Schema versions:
# 1: rule, config and run of each profile; its readings as series (JSON) or rows (Parquet). (0.1.0)
SCHEMA_VERSION = 1

Document = dict[str, Any]

# From version n, the key, to n + 1. A document is migrated before any of its fields are checked.
MIGRATIONS: dict[int, Callable[[Document], Document]] = {}


class _Document(TypedDict):
    schema: int
    generator: str
    profiles: list[Any]


class Head(TypedDict):
    """What a profile is besides its readings."""

    rule: str
    config: dict[str, Any]
    run: dict[str, Any]


_DOCUMENT, _CONFIG, _RUN = shape_of(_Document), shape_of(GPTConfig), shape_of(Run)


def head(profile: Profile) -> Head:
    """Return what a profile is besides its readings, ready for JSON.

    Raises:
        ValueError: for a table with another rule's readings in it: they would come back as its own.
    """
    if (profile.table["rule"] != profile.rule).any():
        raise ValueError(f"the profile of {profile.rule!r} has another rule's readings in it")
    return Head(rule=profile.rule, config=profile.config.to_dict(), run=profile.run.to_dict())


def document(profiles: Iterable[Any]) -> Document:
    """Wrap saved profiles in a document of the current version."""
    generator = f"initscope {__version__}"
    return {"schema": SCHEMA_VERSION, "generator": generator, "profiles": list(profiles)}


def entries(loaded: object, shape: Shape) -> list[dict[str, Any]]:
    """Return the saved profiles of a document of any version up to the current one.

    Raises:
        UsageError: for a newer version, and for a document that is not of its version's shape.
    """
    profiles = checked(_migrated(loaded), _DOCUMENT, "the document")["profiles"]
    if not profiles:
        raise UsageError("it holds no profiles")
    return [checked(one, shape, f"profile {n}") for n, one in enumerate(profiles, start=1)]


def configuration(entry: dict[str, Any]) -> tuple[GPTConfig, Run]:
    """Rebuild what a saved profile was measured on, and how.

    Raises:
        UsageError: for a field that is unknown, missing, or of another kind.
    """
    config = checked(entry["config"], _CONFIG, "the configuration")
    run = checked(entry["run"], _RUN, "the run")
    return GPTConfig.from_dict(config), Run.from_dict(run)


def _migrated(loaded: object) -> Document:
    version = loaded.get("schema") if isinstance(loaded, dict) else None
    if not isinstance(loaded, dict) or type(version) is not int:
        raise UsageError("it was not saved by initscope, or it would have a whole number 'schema'")
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"written by a newer initscope (schema {version}, this one reads {SCHEMA_VERSION}): "
            "upgrade with pip install -U initscope"
        )
    if version not in {*MIGRATIONS, SCHEMA_VERSION}:
        raise UsageError(f"there has never been a schema {version}; it is damaged")
    for older in range(version, SCHEMA_VERSION):
        loaded = _migrate(loaded, older)
    return loaded


def _migrate(loaded: Document, version: int) -> Document:
    try:
        return {**MIGRATIONS[version](loaded), "schema": version + 1}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"it is damaged: not every field of schema {version} is there") from error
