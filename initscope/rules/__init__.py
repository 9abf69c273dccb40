"""The registry of initialisation rules. To add one, add it to its family's ``RULES``."""

from __future__ import annotations

from initscope.config import GPTConfig
from initscope.errors import unknown
from initscope.rules import fan, gaussian
from initscope.rules.core import Draw, Multipliers, Rule, Site

__all__ = ["RULES", "Draw", "Multipliers", "Rule", "Site", "config_for", "get_rule"]

RULES: dict[str, Rule] = {rule.name: rule for family in (gaussian, fan) for rule in family.RULES}


def get_rule(rule: str | Rule) -> Rule:
    """Return the rule of that name; a Rule is returned as it is.

    Raises:
        UsageError: for a name that is not registered, naming the nearest that is.
    """
    if isinstance(rule, Rule):
        return rule
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    return RULES[rule]


def config_for(rule: str | Rule, **chosen: object) -> GPTConfig:
    """Return the shape: what was chosen, then the rule's architecture, then the defaults."""
    return GPTConfig.from_dict({**get_rule(rule).architecture, **chosen})
