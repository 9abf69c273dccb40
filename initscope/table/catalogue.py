"""The catalogue of rules: what each draws, on which architecture, and from where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.notation import MISSING
from initscope.rules import Rule, config_for
from initscope.sites import block_parameters, model_site, require_draws
from initscope.table.sheet import DIM, GAP, Page, Report

DEPTHS = (2, 8)


def rules_report(rules: Sequence[Rule], *, width: int | None = None) -> RenderableType:
    """Show rules below each other: the name, what depends on the depth, and the rest in words.

    Args:
        rules: what to show.
        width: characters to use; the console's unless given.
    """
    return Report(lambda page: _report(page, rules), width)


def facts(rule: Rule) -> dict[str, Any]:
    """Return what is known of a rule, ready for JSON."""
    scaled = depth_scaled(rule)
    return {
        "name": rule.name,
        "summary": rule.summary,
        "architecture": dict(rule.architecture),
        "depth_scaled": None if scaled is None else list(scaled),
        "source": rule.source,
    }


def depth_scaled(rule: Rule) -> tuple[str, ...] | None:
    """Name what the rule makes depend on the depth, or on the layer: weights, multipliers.

    None for a rule, one's own or a package's, that does not answer at both of the depths tried.
    """
    try:
        configs = [config_for(rule, n_layer=depth, n_embd=64) for depth in DEPTHS]
        for config in configs:
            require_draws(rule, config)
    except UsageError:
        return None
    places = [(config, layer) for config in configs for layer in range(config.n_layer)]
    found: dict[str, set[Any]] = {
        "weights": {_draws(rule, config, layer) for config, layer in places},
        "multipliers": {rule.multipliers(model_site(config, layer)) for config, layer in places},
    }
    return tuple(name for name, values in found.items() if len(values) > 1)


def _draws(rule: Rule, config: GPTConfig, layer: int) -> tuple[object, ...]:
    return tuple(rule.draw(parameter.site) for parameter in block_parameters(config, layer))


def architecture(rule: Rule) -> str:
    """Spell the architecture that belongs to a rule: ``norm post · bias yes``."""
    words = {True: "yes", False: "no"}
    return " · ".join(
        f"{name} {words[value] if isinstance(value, bool) else value}"
        for name, value in rule.architecture.items()
    )


def _report(page: Page, rules: Sequence[Rule]) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 1, 0), header_style=DIM)
    table.add_column("rule", no_wrap=True)
    table.add_column("by depth", min_width=len("multipliers"))
    table.add_column(page.spell("what it draws · architecture · source"), overflow="fold")
    for rule in rules:
        scaled = depth_scaled(rule)
        by_depth = MISSING if scaled is None else "\n".join(scaled) or "no"
        table.add_row(page.text(rule.name), page.text(by_depth), _description(page, rule))
    yield table


def _description(page: Page, rule: Rule) -> Text:
    lines = [page.text(rule.summary)]
    if rule.architecture:
        lines.append(page.text(architecture(rule)))
    return Text("\n").join([*lines, page.text(rule.source, DIM)])
