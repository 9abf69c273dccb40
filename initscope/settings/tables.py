"""The tables of a settings file: every key known and every value right, or what would be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from initscope.errors import UsageError
from initscope.rules import Rule
from initscope.settings import values
from initscope.settings.check import CheckSettings
from initscope.settings.source import Place, Source
from initscope.settings.values import BOUNDS, MEASUREMENT, SHAPE, Reader
from initscope.verdict import Level

Schema = dict[str, "Reader | Schema"]
Known = Mapping[str, str]
Own = Mapping[str, Rule]

_NO_RULES: Own = MappingProxyType({})

_FIELDS = {"rule": "rules", "n_layer": "depths"}  # keys that are not named as their field


def read_checks(
    source: Source, default: CheckSettings, known: Known | None, own: Own = _NO_RULES
) -> tuple[CheckSettings, ...]:
    """Return the checks that a file asks for, each laid over the file's defaults.

    Args:
        source: the file's settings.
        default: what holds where the file says nothing.
        known: every check's name by its code; the registered ones if None.
        own: the file's own rules by name.

    Raises:
        UsageError: naming the key that is unknown or wrong, and what would be right.
    """
    known = _registered() if known is None else known
    schema = _schema(source.path.parent, known, own)
    root = _read(source.content, _root_schema(schema), source.place)
    place = source.place.at("check")
    defaults = default.replace(**_fields(root.get("check", {}), known, place))
    checks = [(defaults, place)]
    if root.get("checks"):
        checks = [
            (defaults.replace(**_fields(_read(entry, schema, place), known, place)), place)
            for entry, place in _entries(root["checks"], source.place.at("checks"))
        ]
    return tuple(_sound(check, known, place) for check, place in checks)


def _registered() -> dict[str, str]:
    from initscope.checks import CHECKS

    return {code: check.name for code, check in CHECKS.items()}


def _root_schema(check: Schema) -> Schema:
    return {"check": {**check, "name": _unnamed}, "checks": _tables, "rules": _already_read}


def _schema(folder: Path, known: Known, own: Own = _NO_RULES) -> Schema:
    """Return what a check may say, and how each of it is read."""
    selectors = partial(values.several, read=partial(values.selector, known=known), fewest=0)
    return {
        "name": values.text,
        "rule": partial(values.several, read=partial(values.rule, own=own)),
        "n_layer": values.DEPTH,
        **SHAPE,
        **MEASUREMENT,
        "tokens": partial(values.tokens, folder=folder),
        "bounds": dict(BOUNDS),
        "select": selectors,
        "ignore": selectors,
        "levels": dict.fromkeys([*known, *known.values()], values.level),
        "precision": values.number,
        "max_seeds": values.whole,
        "allow_inconclusive": values.flag,
    }


def _read(value: Any, schema: Reader | Schema, place: Place) -> Any:  # noqa: ANN401 - TOML's
    """Read a value, or a table with all that is in it."""
    if not isinstance(schema, dict):
        try:
            return schema(value)
        except UsageError as error:
            raise place.error(error) from error
    if not isinstance(value, dict):
        raise place.error(values.wrong(value, "a table"))
    for key in value:
        if key not in schema:
            raise place.unknown(key, schema)
    return {key: _read(item, schema[key], place.at(key)) for key, item in value.items()}


def _tables(value: object) -> list[Any]:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise values.wrong(value, "a list of tables in double brackets")


def _already_read(_rules: object) -> None:
    """Leave the file's own rules to what reads them first: the checks may name them."""


def _unnamed(_name: object) -> None:
    raise UsageError("these defaults have no name; each of 'checks' has")


def _entries(entries: list[Any], parent: Place) -> Iterator[tuple[Any, Place]]:
    """Yield every named check with its place."""
    seen = set()
    for number, entry in enumerate(entries, start=1):
        place = parent.item(f"#{number}")
        if "name" not in entry:
            raise place.error("needs a name")
        name = _read(entry["name"], values.text, place.at("name"))
        if name in seen:
            raise parent.error(f"two are named {name!r}; each needs its own name")
        seen.add(name)
        yield entry, parent.item(name)


def _fields(table: dict[str, Any], known: Known, place: Place) -> dict[str, Any]:
    """Sort a table's flat keys into the fields of a check."""
    own = {_FIELDS.get(key, key): value for key, value in table.items()}
    groups = {
        group: {key: own.pop(key) for key in table if key in keys}
        for group, keys in (("shape", SHAPE), ("measurement", MEASUREMENT))
    }
    return {**own, **groups, "levels": _by_code(own.get("levels", {}), known, place.at("levels"))}


def _by_code(levels: dict[str, Level], known: Known, place: Place) -> dict[str, Level]:
    """Key levels by code, so that the closer of two tables wins whatever it calls a check."""
    codes = {name: code for code, name in known.items()}
    for name, code in codes.items():
        if name in levels and code in levels:
            raise place.error(f"{code} and {name} are the same check; name it once")
    return {codes.get(key, key): level for key, level in levels.items()}


def _sound(check: CheckSettings, known: Known, place: Place) -> CheckSettings:
    """Return a check that can be run; what is right by itself need not be so together."""
    try:
        options = check.options()
        for _, config in check.cases():
            options.length(config)
    except UsageError as error:
        raise place.error(error) from error
    if not _left(check, known):
        raise place.error("select and ignore leave no check to run")
    return check


def _left(check: CheckSettings, known: Known) -> list[str]:
    """Return the codes of what is selected and not ignored."""

    def named(selectors: tuple[str, ...], code: str) -> bool:
        return any(values.matches(one, code, known[code]) for one in selectors)

    wanted = [code for code in known if not check.select or named(check.select, code)]
    return [code for code in wanted if not named(check.ignore, code)]
