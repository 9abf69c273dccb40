"""What was found out about a checkpoint's origin."""

from __future__ import annotations

from dataclasses import dataclass, field

from initscope.naming import Layout
from initscope.origin.faults import name_fault
from initscope.origin.groups import Group
from initscope.origin.matching import Judge, Match, Miss


@dataclass(frozen=True, kw_only=True)
class Identification:
    """Which rules can have drawn a checkpoint, the best first.

    Args:
        source: the file, folder or module.
        layout: the model's size, and what was not recognised.
        groups: parameters by their kind, with what was measured.
        matches: the rules, those that draw the same weights here as one, the best first.
        rescaled: where none fits, a rule that would with all its stds times one factor.
        heads_matter: rules whose draws depend on the number of heads, where that is a guess.
        remarks: what was taken for granted, in words.
    """

    source: str
    layout: Layout
    groups: tuple[Group, ...]
    matches: tuple[Match, ...]
    rescaled: Match | None
    heads_matter: tuple[str, ...]
    remarks: tuple[str, ...]
    tied: bool
    judge: Judge = field(repr=False)

    @property
    def fits(self) -> list[str]:
        """Names of the rules that fit every group."""
        return [rule.name for match in self.matches if match.fits for rule in match.rules]

    @property
    def nearest(self) -> Match:
        """The best match, whether it fits or not."""
        return self.matches[0]

    def fitting(self, group: Group) -> list[str]:
        """Names of the rules that can have drawn a group, in the order of the ranking."""
        return [
            rule.name for match in self.matches for rule in match.rules
            if all(miss.group is not group for miss in match.misses)
        ]  # fmt: skip

    def fault(self, match: Match, miss: Miss) -> str | None:
        """Name the mistake that would have left what was measured, if one is known."""
        return name_fault(self.judge, match.rules[0], miss)
