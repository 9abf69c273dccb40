"""The registry of initialisation rules. To add one, add it to its family's ``RULES``."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from initscope.config import GPTConfig, preset
from initscope.errors import PluginWarning, UsageError, unknown
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
    plugins,
    small,
    torchscale,
    unit,
    zero,
)
from initscope.rules.core import Draw, Multipliers, Rule, Site
from initscope.rules.formulas import FORMULAS
from initscope.rules.own import amended, assignments

__all__ = [
    "RULES", "Draw", "Multipliers", "Rule", "Site", "all_rules", "config_for", "get_rule",
    "require_new", "rule", "rule_names",
]  # fmt: skip

_FAMILIES = (
    gaussian, fan, small, llama, models, huggingface,
    depth, torchscale, fairseq, zero, unit, mup, folklore,
)  # fmt: skip

RULES: dict[str, Rule] = {
    rule.name: dataclasses.replace(rule, formulas={**FORMULAS.get(rule.name, {}), **rule.formulas})
    for family in _FAMILIES
    for rule in family.RULES
}
_NONE: Mapping[str, Rule] = MappingProxyType({})


def get_rule(rule: str | Rule, own: Mapping[str, Rule] = _NONE) -> Rule:
    """Return the rule of that name; a Rule is returned as it is.

    Args:
        rule: a name, or a name with changes: ``nanogpt:residual_std=0.02/sqrt(2*n_layer)``.
        own: rules by name that are not registered, such as those of a settings file.

    Raises:
        UsageError: for a name that does not exist, naming the nearest that does, for changes
            that cannot be right, and for a package's rule that cannot be loaded.
    """
    if isinstance(rule, Rule):
        return rule
    name, colon, changes = rule.partition(":")
    found = RULES.get(name) or own.get(name) or _from_package(name)
    if found is None:
        raise unknown("rule", name, rule_names(own))
    return amended(found, rule, assignments(changes)) if colon else found


def _from_package(name: str) -> Rule | None:
    entry = plugins.entries().get(name)
    return None if entry is None else RULES.setdefault(name, plugins.load(entry))


def rule_names(own: Mapping[str, Rule] = _NONE) -> list[str]:
    """Return every rule's name, without loading those of other packages."""
    return list(dict.fromkeys([*RULES, *own, *plugins.entries()]))


def all_rules(own: Mapping[str, Rule] = _NONE) -> list[Rule]:
    """Return every rule; warn of packages' rules that cannot be used, and leave them out."""
    for name, entry in plugins.entries().items():
        try:
            loaded = plugins.load(entry)
        except UsageError as error:
            warnings.warn(f"{error}; left out", PluginWarning, stacklevel=2)
            continue
        if RULES.setdefault(name, loaded) is not loaded:
            taken = f"rule {name!r} ({entry.value}) has the name of another; left out"
            warnings.warn(taken, PluginWarning, stacklevel=2)
    return [*RULES.values(), *own.values()]


def require_new(name: str) -> None:
    """Refuse a name for a rule of one's own.

    Raises:
        UsageError: for a name that a rule has already, or that could not be told from changes.
    """
    if name in RULES:
        raise UsageError(f"there is a rule {name!r} already; choose another name")
    if not name or not name.isprintable() or set(name) & set(" :,="):
        raise UsageError(f"a rule's name has no blank, colon, comma or equals sign: {name!r}")


def rule(
    name: str,
    *,
    source: str,
    summary: str = "",
    architecture: Mapping[str, Any] | None = None,
    multipliers: Callable[[Site], Multipliers] = lambda _site: Multipliers(),
    formulas: Mapping[str, str] | None = None,
) -> Callable[[Callable[[Site], Draw]], Rule]:
    """Make a rule of a function ``Site -> Draw``, and register it while this process runs.

    The decorated name holds the :class:`~initscope.rules.core.Rule`, whose fields the arguments
    are; the summary is the first line of the function's docstring unless given.

    Raises:
        UsageError: for a name that is taken.
    """

    def register(draw: Callable[[Site], Draw]) -> Rule:
        require_new(name)
        first_line = (draw.__doc__ or "").strip().partition("\n")[0]
        RULES[name] = Rule(
            name=name, summary=summary or first_line, source=source, draw=draw,
            architecture=dict(architecture or {}), multipliers=multipliers,
            formulas=dict(formulas or {}),
        )  # fmt: skip
        return RULES[name]

    return register


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
