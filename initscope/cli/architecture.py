"""What a rule brings along besides its draws, and what of it an option overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from initscope.cli.output import say
from initscope.config import preset

if TYPE_CHECKING:
    from initscope.rules import Rule


def tell_architecture(rule: Rule, chosen: Mapping[str, Any]) -> None:
    """Say on stderr which architecture comes with a rule, and which options replace it."""
    fields = preset(chosen["preset"]) if "preset" in chosen else {}
    for line in notes(rule, {**fields, **chosen}):
        say(line)


def notes(rule: Rule, chosen: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line on what the rule brings, and one on what was chosen otherwise."""
    brought = {name: value for name, value in rule.architecture.items() if name not in chosen}
    replaced = {
        name: chosen[name]
        for name, value in rule.architecture.items()
        if chosen.get(name, value) != value
    }
    if brought:
        yield f"{rule.name} brings its own architecture: {_spelt(brought)}"
    if replaced:
        own = {name: rule.architecture[name] for name in replaced}
        yield f"{rule.name} belongs with {_spelt(own)}, which is overridden: {_spelt(replaced)}"


def _spelt(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in fields.items())
