"""Names of rules on the command line: registered ones, and those of the nearest settings file.

Both are loaded when a name is looked at: ``--help`` knows neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from initscope.errors import UsageError

if TYPE_CHECKING:
    from initscope.rules import Rule


def find_rule(name: str) -> Rule:
    """Return a rule; settings are looked for only where the name is not a registered one.

    Raises:
        UsageError: for a rule that does not exist or cannot be right.
    """
    from initscope.rules import RULES, get_rule

    return get_rule(name) if name.partition(":")[0] in RULES else get_rule(name, _settings_rules())


def known_rules() -> list[str]:
    """Return the names of all rules, those of the nearest settings file too.

    Raises:
        UsageError: for settings that cannot be right.
    """
    from initscope.rules import rule_names

    return rule_names(_settings_rules())


def _settings_rules() -> Mapping[str, Rule]:
    from initscope.settings import load_rules

    return load_rules()


def is_checkpoint(name: str) -> bool:
    """Whether a name is a checkpoint's, and no rule's."""
    if name in known_rules() or not ("." in name or Path(name).exists()):
        return False
    from initscope import checkpoint

    return checkpoint.is_checkpoint(name)


def complete_rule(incomplete: str) -> list[str]:
    """Complete a rule's name; settings that are wrong are no matter for a completion."""
    from initscope.rules import rule_names

    names = rule_names()
    with suppress(UsageError):
        names = known_rules()
    return [name for name in names if name.startswith(incomplete)]
