"""Rules of other packages, through the entry-point group ``initscope.rules``.

An entry's name is its rule's; its value is the Rule. Names come from the packages' metadata: no
code of theirs runs before one of their rules is named, or all rules are listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from initscope.errors import UsageError
from initscope.rules.core import Rule

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "initscope.rules"


def entries() -> dict[str, EntryPoint]:
    """Return what packages offer, by the rule's name; of two the first that is found."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in reversed(tuple(entry_points(group=GROUP)))}


def load(entry: EntryPoint) -> Rule:
    """Import a package's rule.

    Raises:
        UsageError: if that fails, whatever the package does, or it is no such rule.
    """
    try:
        rule = entry.load()
    except (Exception, SystemExit) as error:
        trouble = f"{type(error).__name__}: {error}"
        raise UsageError(f"{_offered(entry)} cannot be loaded: {trouble}") from error
    if not isinstance(rule, Rule):
        raise UsageError(f"{_offered(entry)} is no Rule but of type {type(rule).__name__}")
    if rule.name != entry.name:
        raise UsageError(f"{_offered(entry)} calls itself {rule.name!r}")
    return rule


def _offered(entry: EntryPoint) -> str:
    package = f" of the package {entry.dist.name}" if entry.dist else ""
    return f"rule {entry.name!r}{package} ({entry.value})"
