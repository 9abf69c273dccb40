"""design(GPTConfig, Rule, Targets) -> Design: the rule, why, and how it is verified."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from initscope.config import GPTConfig
from initscope.designing import config as written
from initscope.designing import quantities
from initscope.designing.knobs import Knobs
from initscope.designing.quantities import Quantities
from initscope.designing.reasons import Reason, Turned, reasons
from initscope.designing.solve import Problem
from initscope.designing.targets import Targets
from initscope.errors import UsageError
from initscope.notation import counted
from initscope.options import Options
from initscope.profile import Profile
from initscope.rules import config_for, get_rule, require_new
from initscope.rules.core import Rule
from initscope.rules.own import amended
from initscope.theory import predict

NAME = "designed"


@dataclass(frozen=True)
class Design:
    """A rule for targets, from a base.

    ``said`` is what the rule says beyond its base; ``predicted`` theory's profile of it, with
    shallower depths where the options ask for them, and ``deeper`` that of twice the depth.
    """

    name: str
    base: Rule
    config: GPTConfig
    targets: Targets
    said: Mapping[str, Any]
    reasons: tuple[Reason, ...]
    before: Quantities
    predicted: Profile
    deeper: Profile

    @property
    def rule(self) -> Rule:
        """The rule, as it is read from :attr:`toml`."""
        return amended(self.base, self.name, self.said, **self._about)

    @property
    def after(self) -> Quantities:
        """What theory predicts of it."""
        return quantities.read(self.predicted)

    @property
    def inline(self) -> str:
        """The rule in one piece, as ``--rule`` takes it."""
        return written.inline(self.base.name, self.said)

    @cached_property
    def toml(self) -> str:
        """The rule as a table of a settings file, its reasons as comments."""
        notes = [f"{one.key}: {one.why}" for one in self.reasons]
        notes += [f"{one.key} costs: {one.cost}" for one in self.reasons if one.cost]
        about = {"base": self.base.name, **self._about}
        return written.toml(self.name, about, self.said, notes)

    @property
    def _about(self) -> dict[str, str]:
        shape = f"{counted(self.config.n_layer, 'layer')} of width {self.config.n_embd}"
        return {
            "summary": f"{self.base.name} made for {self.targets.words} at {shape}",
            "source": f"initscope design, from {self.base.name}: {self.base.source}",
        }

    def outcome(self, measured: Profile) -> Outcome:
        """Set a measurement of the rule beside its prediction."""
        return Outcome(self, measured)


@dataclass(frozen=True)
class Outcome:
    """A design and a measurement of it."""

    design: Design
    measured: Profile

    def expected(self, name: str, depth: int = 0) -> tuple[float, float]:
        """Return what holds 99.9 % of measurements of a quantity; NaN where none is known."""
        seeds = len(self.measured.run.seeds)
        return quantities.expected(self.design.predicted, name, depth, seeds)

    @property
    def astray(self) -> list[str]:
        """The targeted quantities whose measurement is not what is expected of it."""
        found = quantities.read(self.measured)
        return [
            name for name in Quantities._fields
            if getattr(self.design.targets, name)
            and self._outside(getattr(found, name), *self.expected(name))
        ]  # fmt: skip

    @staticmethod
    def _outside(value: float, low: float, high: float) -> bool:
        return not math.isnan(low) and not low <= value <= high


def design(
    config: GPTConfig | int,
    base: str | Rule,
    targets: Targets,
    options: Options | None = None,
    *,
    name: str = NAME,
) -> Design:
    """Solve for the rule that meets the targets, everything else as in the base.

    Args:
        config: the model's shape, or its depth alone.
        base: a rule's name, or a Rule, that the designed one is to be like.
        targets: what its model is to have.
        options: tokens and their number, as for a measurement.
        name: of the rule that is made.

    Raises:
        UsageError: for a target that cannot be reached, saying what can; for a model that theory
            does not cover; and for a name that is taken.
    """
    base, options = get_rule(base), options or Options()
    require_new(name)
    if targets.gradient_ratio is not None and options.forward_only:
        raise UsageError("--gradient-ratio needs the gradients, which --forward-only leaves out")
    if isinstance(config, int):
        config = config_for(base, n_layer=config)
    knobs = Knobs(config, base)
    values = Problem(config, knobs, targets, options).solve()
    said = knobs.said(values)
    rule = amended(base, name, said)
    deeper = dataclasses.replace(options, depth_law=False)
    before, predicted = (predict(config, one, options) for one in (base, rule))
    turned = Turned(config, targets, knobs, values, *map(quantities.read, (before, predicted)))
    return Design(
        name, base, config, targets, said, tuple(reasons(turned)), turned.before, predicted,
        predict(config.at_depth(2 * config.n_layer), rule, deeper),
    )  # fmt: skip
