"""The registry of initialisation rules. To add one, add it to its family's ``RULES``."""

from __future__ import annotations

from typing import Any

from initscope.config import GPTConfig, preset
from initscope.errors import unknown
from initscope.rules import (
    depth,
    fairseq,
    fan,
    folklore,
    gaussian,
    huggingface,
    llama,
    models,
    mup,
    small,
    torchscale,
    unit,
    zero,
)
from initscope.rules.core import Draw, Multipliers, Rule, Site

__all__ = ["RULES", "Draw", "Multipliers", "Rule", "Site", "config_for", "get_rule"]

_FAMILIES = (
    gaussian, fan, small, llama, models, huggingface,
    depth, torchscale, fairseq, zero, unit, mup, folklore,
)  # fmt: skip

RULES: dict[str, Rule] = {rule.name: rule for family in _FAMILIES for rule in family.RULES}


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


def config_for(rule: str | Rule, **chosen: Any) -> GPTConfig:  # noqa: ANN401 - fields of any type
    """Return the shape: what was chosen, then its preset, then the rule's architecture.

    ``preset`` names a published model, which the fields beside it amend: another width also
    takes back the preset's heads and MLP width, which need not fit it.

    Raises:
        UsageError: for a rule or preset that does not exist, or a shape that cannot be built.
    """
    name = chosen.pop("preset", None)
    fields = preset(name) if name is not None else {}
    if "n_embd" in chosen:
        fields = {key: fields[key] for key in fields.keys() - {"n_head", "n_kv_head", "d_ff"}}
    return GPTConfig.from_dict({**get_rule(rule).architecture, **fields, **chosen})
