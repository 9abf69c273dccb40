"""What a contestant found: readings by the place, the kind of tensor, and the statistic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from initscope.profile import Profile

Readings = dict[tuple[str, str, str], float]

# What a tool may record, in the order of the table's column.
KINDS = ("activation", "residual", "gradient", "weight", "weight gradient", "verdict")

RESIDUAL = ("resid_pre", "resid_mid", "resid_post", "embed")
_DIRECTION = {
    "forward": "activation", "backward": "gradient", "weight": "weight",
    "weight_grad": "weight gradient",
}  # fmt: skip


class Judged(NamedTuple):
    """A profile with its verdict: the result, whose rows the benchmark names as others do."""

    profile: Profile
    verdict: str


class Taken(NamedTuple):
    """What was found, and the seconds before the first pass (None where drawing is part of it)."""

    found: Readings | Judged
    built: float | None = None

    @property
    def readings(self) -> Readings:
        """Readings by place, kind and statistic; none of the contestant's time."""
        if not isinstance(self.found, Judged):
            return self.found
        return {**gather(self.found.profile), ("", "verdict", self.found.verdict): 1.0}


def kind_of(place: str) -> str:
    """Say whether a module's output is the residual stream: a block's own, or a named site."""
    *_, last = place.split(".")
    return "residual" if last in RESIDUAL or last.isdigit() else "activation"


def gather(profile: Profile) -> Readings:
    """Name a profile's rows as the modules of the built-in GPT are named."""
    rows: Iterable[Any] = profile.table.itertuples(index=False)
    return {
        (place(row.layer, row.site), _kind(row.site, row.direction), row.statistic): row.value
        for row in rows
    }


def place(layer: int, site: str) -> str:
    """Return the path of a site: ``blocks.3.attn_out``."""
    return f"blocks.{layer}.{site}"


def _kind(site: str, direction: str) -> str:
    kind = _DIRECTION[direction]
    return "residual" if kind == "activation" and site in RESIDUAL else kind


def recorded(readings: Readings) -> list[str]:
    """List the kinds that were recorded, in order."""
    kinds = {kind for _, kind, _ in readings}
    return [kind for kind in KINDS if kind in kinds]
