"""Rules of one's own in a settings file: ``[rules.mine]`` with a base and what differs."""

from __future__ import annotations

from typing import Any

from initscope.errors import UsageError
from initscope.rules import Rule, get_rule, require_new
from initscope.rules.own import amended
from initscope.settings import values
from initscope.settings.source import Place, Source

_ABOUT = ("summary", "source")


def read_rules(source: Source) -> dict[str, Rule]:
    """Return the rules that a file makes, by name; each may be based on another of them.

    Raises:
        UsageError: naming the table or key that cannot be right.
    """
    content = source.content.get("rules", {}) if isinstance(source.content, dict) else {}
    place = source.place.at("rules")
    if not isinstance(content, dict):
        raise place.error(values.wrong(content, "a table of tables"))
    reader = _Reader(content, place)
    return {name: reader.rule(name) for name in content}


class _Reader:
    """Makes each rule once, after the one that it is based on."""

    def __init__(self, tables: dict[str, Any], place: Place) -> None:
        self.tables, self.place = tables, place
        self.made: dict[str, Rule] = {}

    def rule(self, name: str, users: tuple[str, ...] = ()) -> Rule:
        """Make a rule, which ``users`` are based on."""
        place = self.place.at(name)
        if name in users:
            raise place.error(f"is based on itself ({' on '.join((*users, name))})")
        if name not in self.made:
            base = self._base(name, place)
            root = base.partition(":")[0]
            if root in self.tables:
                self.rule(root, (*users, name))
            try:
                self.made[name] = self._make(name, base)
            except UsageError as error:
                raise place.error(error) from error
        return self.made[name]

    def _base(self, name: str, place: Place) -> str:
        table = self.tables[name]
        base = table.get("base") if isinstance(table, dict) else None
        if not isinstance(base, str):
            raise place.error('must be a table with a base, as base = "nanogpt"')
        return base

    def _make(self, name: str, base: str) -> Rule:
        require_new(name)
        table = self.tables[name]
        said = {key: value for key, value in table.items() if key not in {"base", *_ABOUT}}
        about = {key: values.text(table[key]) for key in _ABOUT if key in table}
        return amended(get_rule(base, self.made), name, said, **about)
