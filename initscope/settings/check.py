"""One named check: which rules at which depths, how to measure them, and what is allowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from initscope.bounds import Bounds
from initscope.config import GPTConfig, preset
from initscope.options import MAX_SEEDS, PRECISION, Options
from initscope.rules import Rule, config_for, get_rule
from initscope.sites import require_draws
from initscope.verdict import Level


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """One named check: every rule at every depth is measured and judged.

    Args:
        name: what reports call it.
        rules: initialisation rules, by name or themselves.
        depths: numbers of blocks.
        shape: other fields of :class:`~initscope.config.GPTConfig`; ``preset`` names a
            published model, which the fields beside it amend.
        measurement: fields of :class:`~initscope.options.Options`.
        bounds: the thresholds.
        select: checks to run, by code, beginning of a code, or name; all if empty.
        ignore: checks to leave out of those, named in the same way.
        levels: what a broken check means, by its code, where it is not the check's own level.
        precision: widest 95 % half-interval of an exponent that is acceptable: seeds are
            added until it is reached.
        max_seeds: where adding seeds ends; ``seeds`` are measured in any case.
        allow_inconclusive: whether a check that could not be decided passes.
    """

    name: str
    rules: tuple[str | Rule, ...] = ("nanogpt",)
    depths: tuple[int, ...] = (48,)
    shape: dict[str, Any] = field(default_factory=dict)
    measurement: dict[str, Any] = field(default_factory=lambda: {"seeds": 3})
    bounds: Bounds = field(default_factory=Bounds)
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    levels: dict[str, Level] = field(default_factory=dict)
    precision: float = PRECISION
    max_seeds: int = MAX_SEEDS
    allow_inconclusive: bool = False

    def replace(self, **changes: Any) -> CheckSettings:  # noqa: ANN401 - as dataclasses.replace
        """Lay what was chosen more closely, such as flags, over these settings.

        ``None`` stands for what was not chosen, among the keywords and inside a mapping.
        A mapping amends ``shape``, ``measurement``, ``bounds`` and ``levels``; anything else
        takes the place of what was there. A preset takes the place of the whole shape, depth
        included, as it says all of it; fields and depths chosen beside it amend it.

        >>> check = CheckSettings(name="ci").replace(measurement={"batch": 2}, precision=None)
        >>> check.measurement, check.precision
        ({'seeds': 3, 'batch': 2}, 0.5)

        Raises:
            UsageError: for a preset or a bound that does not exist.
        """
        chosen, base = _chosen(changes), self
        name = chosen.get("shape", {}).get("preset")
        if name is not None:
            base = dataclasses.replace(self, shape={}, depths=(preset(name)["n_layer"],))
        merged = {key: _merged(getattr(base, key), value) for key, value in chosen.items()}
        return dataclasses.replace(base, **merged)

    def options(self) -> Options:
        """Return the engine's options.

        Raises:
            UsageError: for values that cannot be right.
        """
        return Options(**self.measurement)

    def config(self, rule: str | Rule, n_layer: int) -> GPTConfig:
        """Return a model: the shape beats its preset, which beats the rule's architecture.

        Raises:
            UsageError: for a rule that does not exist, or a shape that cannot be built.
        """
        return config_for(rule, **{**self.shape, "n_layer": n_layer})

    def cases(self) -> Iterator[tuple[str | Rule, GPTConfig]]:
        """Yield every rule with its model at every depth.

        Raises:
            UsageError: as :meth:`config` does, and where a rule does not say what to draw.
        """
        for rule in self.rules:
            for n_layer in self.depths:
                config = self.config(rule, n_layer)
                for depth in self.options().depths(config):
                    require_draws(get_rule(rule), config.at_depth(depth))
                yield rule, config


def _chosen(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _merged(old: Any, new: Any) -> Any:  # noqa: ANN401 - a field of any type
    if isinstance(old, Bounds) and isinstance(new, Mapping):
        return Bounds.from_dict({**dataclasses.asdict(old), **_chosen(new)})
    if isinstance(new, Mapping):
        return {**old, **_chosen(new)}
    return tuple(new) if isinstance(new, list) else new
