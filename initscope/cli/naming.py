"""Names of rules on the command line: registered ones, and those of the nearest settings file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from initscope.errors import UsageError
from initscope.rules import RULES, Rule, get_rule, rule_names
from initscope.settings import load_rules


def find_rule(name: str) -> Rule:
    """Return a rule; settings are looked for only where the name is not a registered one.

    Raises:
        UsageError: for a rule that does not exist or cannot be right.
    """
    return get_rule(name) if name.partition(":")[0] in RULES else get_rule(name, load_rules())


def known_rules() -> list[str]:
    """Return the names of all rules, those of the nearest settings file too.

    Raises:
        UsageError: for settings that cannot be right.
    """
    return rule_names(load_rules())


def is_checkpoint(name: str) -> bool:
    """Whether a name is a checkpoint's, and no rule's."""
    if name in known_rules() or not ("." in name or Path(name).exists()):
        return False
    from initscope import checkpoint

    return checkpoint.is_checkpoint(name)


def complete_rule(incomplete: str) -> list[str]:
    """Complete a rule's name; settings that are wrong are no matter for a completion."""
    names = rule_names()
    with suppress(UsageError):
        names = known_rules()
    return [name for name in names if name.startswith(incomplete)]
