"""Rules against groups: which fit, which draw the same weights, and how near the rest are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from initscope.origin.evidence import Evidence, log_likelihood, weigh
from initscope.origin.groups import Group, Member, pool, pooled_std
from initscope.rules.core import Draw, Rule, Site

ALPHA = 1e-6  # chance that a rule is refused a checkpoint that it drew, all tests together
TESTS = 5  # statistics of a parameter
FARTHEST = 5.0  # natural logs of a ratio: a constant where a random draw is expected

Drawing = Callable[[Site], Draw]


@dataclass(frozen=True)
class Miss:
    """A group that a rule cannot have drawn: the members at fault, and the worst statistic."""

    group: Group
    members: tuple[Member, ...]
    draws: tuple[Draw, ...]
    evidence: Evidence

    @property
    def measured(self) -> float:
        """Root mean square of the stds at fault."""
        return pooled_std(self.members)

    @property
    def expected(self) -> float:
        """Root mean square of the stds that the rule gives them."""
        counts = [member.sample.count for member in self.members]
        square = sum(n * draw.std**2 for n, draw in zip(counts, self.draws, strict=True))
        return math.sqrt(square / sum(counts))

    @property
    def distance(self) -> float:
        """Natural log of the larger std over the smaller, at most :data:`FARTHEST`."""
        if not 0 < self.measured < math.inf or self.expected == 0:
            return FARTHEST if self.measured != self.expected else 1.0
        return min(FARTHEST, abs(math.log(self.measured / self.expected)))


@dataclass(frozen=True)
class Match:
    """A rule, with those that draw the same weights here, against every group.

    ``factor`` multiplies every random draw of the rule; 1 is the rule itself.
    """

    rules: tuple[Rule, ...]
    misses: tuple[Miss, ...]
    groups: int
    log_likelihood: float
    factor: float = 1.0

    @property
    def fits(self) -> bool:
        """Whether the rule can have drawn every group."""
        return not self.misses

    @property
    def fitting(self) -> int:
        """Number of groups that the rule can have drawn."""
        return self.groups - len(self.misses)

    @property
    def distance(self) -> float:
        """Mean over the groups of how far their std is from the rule's, in natural logs."""
        return sum(miss.distance for miss in self.misses) / self.groups


def canonical(draw: Draw) -> tuple[object, ...]:
    """Return what two draws share when no sample can tell them apart."""
    if draw.std == 0:
        return "constant", _rounded(draw.mean)
    endless = draw.kind == "truncated_normal" and draw.cut >= 100
    kind = "normal" if endless else draw.kind
    return kind, _rounded(draw.std), draw.cut if kind == "truncated_normal" else 0.0


def _rounded(value: float) -> float:
    return float(f"{value:.9e}")


class Judge:
    """Tests draws against the groups of one checkpoint, each only once."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        members = sum(len(group.members) for group in groups)
        self.threshold = math.log(ALPHA / (TESTS * (members + len(groups))))
        self._known: dict[tuple[int, Draw], Evidence] = {}

    def match(self, rules: Sequence[Rule], factor: float = 1.0) -> Match:
        """Hold rules that draw the same weights against every group."""
        draw = rules[0].draw if factor == 1 else _times(rules[0].draw, factor)
        misses = tuple(miss for group in self.groups if (miss := self.miss(group, draw)))
        likelihood = sum(
            log_likelihood(member.sample, draw(member.named.site))
            for group in self.groups for member in group.members
        ) if not misses else -math.inf  # fmt: skip
        return Match(tuple(rules), misses, len(self.groups), likelihood, factor)

    def miss(self, group: Group, draw: Drawing) -> Miss | None:
        """Say what of a group a draw cannot have made; None where it fits."""
        draws = tuple(draw(member.named.site) for member in group.members)
        pairs = list(zip(group.members, draws, strict=True))
        found = [(member, one, self.weigh(member, one)) for member, one in pairs]
        wrong = [each for each in found if each[2].log_p < self.threshold]
        if not wrong:
            together = _together(group.members, draws)
            if together.log_p >= self.threshold:
                return None
            wrong = [(member, one, together) for member, one in pairs]
        members, theirs, evidence = zip(*wrong, strict=True)
        return Miss(group, members, theirs, min(evidence, key=lambda each: each.log_p))

    def weigh(self, member: Member, draw: Draw) -> Evidence:
        """Test one parameter; many rules give it the same draw."""
        key = (id(member), draw)
        if key not in self._known:
            self._known[key] = weigh(member.sample, draw)
        return self._known[key]


def _together(members: Sequence[Member], draws: Sequence[Draw]) -> Evidence:
    """Test the members as one sample: a small error in every layer shows there."""
    kinds = {(draw.kind, draw.cut, draw.std > 0) for draw in draws}
    (kind, _, random), *others = kinds
    if others or not random or kind == "orthogonal" or len(members) < 2:
        return Evidence(0.0, "value")
    unit = dataclasses.replace(draws[0], scale=draws[0].scale / draws[0].std)
    return weigh(pool([m.sample for m in members], [draw.std for draw in draws]), unit)


def _times(draw: Drawing, factor: float) -> Drawing:
    def scaled(site: Site) -> Draw:
        one = draw(site)
        return dataclasses.replace(one, scale=one.scale * factor) if one.std else one

    return scaled


def alike(rules: Iterable[Rule], sites: Sequence[Site]) -> list[tuple[Rule, ...]]:
    """Put rules together that draw the same weights at every site."""
    classes: dict[tuple[object, ...], list[Rule]] = {}
    for rule in rules:
        drawn = tuple(canonical(rule.draw(site)) for site in sites)
        classes.setdefault(drawn, []).append(rule)
    return [tuple(found) for found in classes.values()]


def common_factor(groups: Sequence[Group], draw: Drawing) -> tuple[float, float] | None:
    """Return the ratio of all random entries to a rule's, and its relative standard error.

    None where only one group is random. The error is that of normal entries, the largest.
    """
    ratios = list(_ratios(groups, draw))
    if len({label for label, _, _ in ratios}) < 2:
        return None
    total = sum(count for _, count, _ in ratios)
    square = sum(count * ratio**2 for _, count, ratio in ratios) / total
    return math.sqrt(square), 1 / math.sqrt(2 * total)


def _ratios(groups: Sequence[Group], draw: Drawing) -> Iterator[tuple[str, int, float]]:
    for group in groups:
        for member in group.members:
            expected = draw(member.named.site).std
            if expected > 0 and 0 < member.sample.std < math.inf:
                yield group.label, member.sample.count, member.sample.std / expected
