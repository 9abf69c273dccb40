"""Measuring until the verdict stands: more seeds while an interval straddles a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from initscope.config import GPTConfig
from initscope.growth import depth_exponent
from initscope.options import MAX_SEEDS, PRECISION, Options, Report
from initscope.profile import Profile
from initscope.rules.core import Rule
from initscope.sweep import extend, inspect
from initscope.verdict import Verdict


class Decided(NamedTuple):
    """A profile with as many seeds as its verdict took."""

    profile: Profile
    verdict: Verdict


def decide(  # noqa: PLR0913 - what to measure, and when to stop
    config: GPTConfig,
    rule: str | Rule,
    options: Options,
    judge: Callable[[Profile], Verdict],
    *,
    max_seeds: int = MAX_SEEDS,
    precision: float = PRECISION,
    report: Report | None = None,
) -> Decided:
    """Measure with ``options.seeds``, then one seed more at a time until nothing is left open.

    Args:
        config: the model's shape.
        rule: how it is drawn.
        options: how to measure; its seeds are the fewest taken.
        judge: what makes a verdict of a profile.
        max_seeds: the most seeds taken; what is open then stays inconclusive.
        precision: widest half of an exponent's 95 % interval.
        report: called after each block.
    """

    def more(profile: Profile, seeds: int) -> Profile:
        return extend(profile, rule, options, seeds, report)

    first = inspect(config, rule, options, report=report)
    return settle(first, more, judge, max_seeds=max_seeds, precision=precision)


def settle(
    profile: Profile,
    more: Callable[[Profile, int], Profile],
    judge: Callable[[Profile], Verdict],
    *,
    max_seeds: int = MAX_SEEDS,
    precision: float = PRECISION,
) -> Decided:
    """Add seeds to a profile, ``more`` measuring up to a number of them, until it is decided."""
    verdict = judge(profile)
    while _open(profile, verdict, precision) and verdict.seeds < max_seeds:
        profile = more(profile, verdict.seeds + 1)
        verdict = judge(profile)
    return Decided(profile, verdict)


def _open(profile: Profile, verdict: Verdict, precision: float) -> bool:
    """Whether more seeds could change the verdict or narrow its exponents enough."""
    estimates = [depth_exponent(profile, direction) for direction in ("forward", "backward")]
    wide = any(found is not None and found.reach > precision for found in estimates)
    return verdict.inconclusive or wide
