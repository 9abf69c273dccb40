"""What a check is, and the evidence that checks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from initscope import digest, growth
from initscope.bounds import Bounds
from initscope.growth import Shape
from initscope.profile import Profile
from initscope.sites import Parameter, all_parameters
from initscope.verdict import Finding, Level, Status

RESIDUAL_BRANCHES = ("attn_out", "mlp_down")


class Answer(NamedTuple):
    """What a check says, before it is signed with the check's code."""

    status: Status
    message: str
    value: float | None = None
    error: float | None = None
    bound: float | None = None
    layer: int | None = None
    site: str | None = None


@dataclass(frozen=True)
class Check:
    """A named test of a profile.

    ``bound`` names the field of :class:`~initscope.bounds.Bounds` that it compares with, whose
    reason is then the check's; otherwise ``reason`` says why it matters.
    """

    code: str
    name: str
    summary: str
    run: Callable[[Evidence], Answer]
    bound: str = ""
    reason: str = ""
    level: Level = Level.ERROR

    def find(self, evidence: Evidence, level: Level | None = None) -> Finding:
        """Run the check and sign its answer."""
        answer = self.run(evidence)
        return Finding(
            code=self.code, name=self.name, level=level or self.level, summary=self.summary,
            **answer._asdict(),
        )  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """A profile and the bounds that it is held against; what checks share is worked out once.

    ``first`` is the first profile of the training run that this one is a step of.
    """

    profile: Profile
    bounds: Bounds
    first: Profile | None = None

    @cached_property
    def overflow(self) -> digest.Overflow | None:
        """The first activation, or else gradient, that is not finite."""
        return digest.overflow(self.profile)

    def shape(self, direction: str) -> Shape | None:
        """Return how the stream, or its gradient, goes over the layers."""
        return growth.shape(self.profile, direction)

    @cached_property
    def zero_branches(self) -> tuple[str, ...]:
        """The branches that add exactly 0: their last weight is 0, or a gate before them."""
        return tuple(site for site in RESIDUAL_BRANCHES if self._is_zero(site))

    def _is_zero(self, site: str) -> bool:
        added = self.readings(site, "forward", "branch_ratio")
        weight = self.readings(site, "weight", "max_abs")
        return any(rows.size and not rows.any(axis=None) for rows in (added, weight))

    @cached_property
    def zero_head(self) -> bool:
        """Whether the head is 0, so that no gradient reaches the blocks."""
        rows = self.readings("head", "weight", "max_abs")
        return bool(rows.size) and not rows.any(axis=None)

    @cached_property
    def depths(self) -> list[int]:
        """The depths that were measured, the shallowest first."""
        return sorted(int(n) for n in self.profile.table["n_layer"].unique())

    def shrinks(self, site: str) -> bool:
        """Whether a weight's std is a tenth smaller, or more, at the largest depth."""
        variances = [
            self.profile.select(site, "weight", "variance", n_layer=depth)
            for depth in (self.depths[0], self.depths[-1])
        ]
        if any(rows.empty for rows in variances):
            return False
        shallow, deep = (float(rows.to_numpy().mean()) for rows in variances)
        return deep < 0.9**2 * shallow

    @cached_property
    def parameters(self) -> list[Parameter]:
        """Every parameter of the configuration."""
        return list(all_parameters(self.profile.config))

    def readings(self, site: str, direction: str, statistic: str) -> pd.DataFrame:
        """Return a statistic over depth, a row a layer and a column a seed."""
        return self.profile.select(site, direction, statistic)

    def final(self, site: str, statistic: str) -> float | None:
        """Return an activation statistic's last row, averaged over seeds."""
        rows = self.readings(site, "forward", statistic)
        return None if rows.empty else float(rows.iloc[-1].mean())


def not_measured(why: str) -> Answer:
    """Say that there is nothing to judge."""
    return Answer(Status.NOT_MEASURED, why)
