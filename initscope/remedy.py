"""A remedy is a change that was measured to help; one that was not is not named."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from initscope.bounds import Bounds
from initscope.config import GPTConfig
from initscope.decide import decide
from initscope.growth import exponent
from initscope.judging import judge
from initscope.notation import counted, number
from initscope.options import Options, Report
from initscope.rules import get_rule
from initscope.rules.core import RESIDUAL, Rule
from initscope.rules.variants import quiet_head, residual_scaled
from initscope.sites import block_parameters, embedding_parameters, head_parameters
from initscope.verdict import Finding, Level, Status, Verdict

PROBE_WIDTH = 128  # a remedy is tried on a model this narrow, if that shows the same fault

GROWTH = frozenset({
    "depth-exponent", "gradient-exponent", "exponential-stream", "exponential-gradient",
    "non-finite",
})  # fmt: skip
HOT = frozenset({"initial-loss"})


@dataclass(frozen=True)
class Change:
    """A change to rule or shape, the checks that it may mend, and how to say it."""

    mends: frozenset[str]
    apply: Callable[[Rule, GPTConfig], tuple[Rule, GPTConfig]]
    say: Callable[[Rule, GPTConfig], str]


def _stds(rule: Rule, config: GPTConfig, roles: frozenset[str]) -> dict[str, float]:
    listed = [
        *embedding_parameters(config), *block_parameters(config, 0), *head_parameters(config)
    ]  # fmt: skip
    return {p.label: rule.draw(p.site).std for p in listed if p.site.role in roles}


def _say_stds(
    roles: frozenset[str], change: Callable[[Rule], Rule], how: str
) -> Callable[[Rule, GPTConfig], str]:
    def say(rule: Rule, config: GPTConfig) -> str:
        before, after = (_stds(r, config, roles) for r in (rule, change(rule)))
        moved = [
            f"{label} {number(std)} → {number(after[label])}"
            for label, std in before.items()
            if after[label] != std
        ]
        return f"std of {', '.join(moved)} ({how.format(n=config.n_layer)})"

    return say


def _pre_norm(config: GPTConfig) -> GPTConfig:
    return dataclasses.replace(config, norm="pre")


_SAY_SCALED = _say_stds(RESIDUAL, residual_scaled, "÷ √(2·{n})")

# From the smallest change to the largest: the first that mends everything is named.
CHANGES = (
    Change(GROWTH, lambda rule, config: (residual_scaled(rule), config), _SAY_SCALED),
    Change(HOT, lambda rule, config: (quiet_head(rule), config),
           _say_stds(frozenset({"wte", "head"}), quiet_head, "0.5/√n_embd")),
    Change(GROWTH | HOT, lambda rule, config: (quiet_head(residual_scaled(rule)), config),
           _say_stds(RESIDUAL | {"wte", "head"}, lambda r: quiet_head(residual_scaled(r)),
                     "÷ √(2·{n}); 0.5/√n_embd")),
    Change(GROWTH, lambda rule, config: (rule, _pre_norm(config)), lambda *_: "--norm pre"),
    Change(GROWTH, lambda rule, config: (residual_scaled(rule), _pre_norm(config)),
           lambda rule, config: f"--norm pre and {_SAY_SCALED(rule, config)}"),
)  # fmt: skip


def with_remedy(
    verdict: Verdict,
    rule: str | Rule,
    config: GPTConfig,
    options: Options,
    bounds: Bounds | None = None,
    *,
    report: Report | None = None,
) -> Verdict:
    """Return the verdict with a remedy that was measured to help, if one was found.

    ``verdict`` is of ``rule`` on ``config``; the changes are tried with ``options``.
    """
    rule = get_rule(rule)
    wanted = _broken(verdict, Level.ERROR) & (GROWTH | HOT)
    trials = list(_trials(wanted, rule, config))
    if not trials:
        return verdict

    def measured(shape: GPTConfig, rule: Rule) -> Verdict:
        return decide(shape, rule, options, partial(judge, bounds=bounds), report=report).verdict

    width, before = _reproduced(verdict, wanted, config, lambda shape: measured(shape, rule))
    for trial in trials:
        shape = _at_width(trial.config, width)
        after = measured(shape, trial.rule)
        if not _remaining(before, after, wanted):
            moved = "; ".join(_moved(before, after, wanted))
            where = f"measured at width {shape.n_embd}, {counted(shape.n_layer, 'layer')}"
            said = f"{trial.change.say(rule, config)}: {moved} ({where})"
            return dataclasses.replace(verdict, remedy=said)
    return verdict


class Trial(NamedTuple):
    """A change, and what it makes of a rule and a shape."""

    change: Change
    rule: Rule
    config: GPTConfig


def _trials(wanted: frozenset[str], rule: Rule, config: GPTConfig) -> Iterator[Trial]:
    """Yield the changes that may mend all that is wanted, if they change anything, and once."""
    tried = [(_all_stds(rule, config), config)]
    for change in CHANGES if wanted else ():
        trial = Trial(change, *change.apply(rule, config))
        made = (_all_stds(trial.rule, trial.config), trial.config)
        if wanted <= change.mends and made not in tried:
            tried.append(made)
            yield trial


def _all_stds(rule: Rule, config: GPTConfig) -> dict[str, float]:
    return _stds(rule, config, RESIDUAL | {"wte", "head"})


def _broken(verdict: Verdict, *levels: Level) -> frozenset[str]:
    found = verdict.of(Status.BROKEN)
    return frozenset(f.name for f in found if f.level in (levels or tuple(Level)))


def _reproduced(
    verdict: Verdict,
    wanted: frozenset[str],
    config: GPTConfig,
    measure: Callable[[GPTConfig], Verdict],
) -> tuple[int, Verdict]:
    """Return a width at which the fault shows, and the verdict there.

    A narrow model is tried first: a change that mends it says something only if the model
    was broken before. (A std that is fixed, whatever the width, means less on a narrow model.)
    """
    narrow = _at_width(config, PROBE_WIDTH)
    if config.n_embd > PROBE_WIDTH and not wanted & HOT:
        control = measure(narrow)
        if wanted <= _broken(control):
            return PROBE_WIDTH, control
    return config.n_embd, verdict


def _at_width(config: GPTConfig, width: int) -> GPTConfig:
    """Return the same model at another width."""
    if config.n_embd == width:
        return config
    return dataclasses.replace(config, n_embd=width, n_head=0, n_kv_head=0, d_ff=0)


def _remaining(before: Verdict, after: Verdict, wanted: frozenset[str]) -> frozenset[str]:
    """Return what is not mended of what is wanted, and what of its kind went wrong instead."""
    kept = {finding.name for finding in after.of(Status.KEPT)}
    open_before = {f.name for f in before.of(Status.INCONCLUSIVE)} - _broken(after)
    wrong = {f.name for f in after.of(Status.BROKEN, Status.INCONCLUSIVE)} & GROWTH
    return (wanted - kept) | (wrong - open_before)


def _moved(before: Verdict, after: Verdict, wanted: frozenset[str]) -> Iterator[str]:
    """Say how each mended number moved: ``depth-exponent 1.02 → 0.03``."""
    old = {finding.name: finding for finding in before.findings}
    for finding in after.findings:
        if finding.name in wanted:
            yield f"{finding.name} {_step(old[finding.name], finding)}"


def _step(old: Finding, new: Finding) -> str:
    if old.value is None or new.value is None or not math.isfinite(old.value):
        return "mended"
    if old.error is None:
        return f"{number(old.value)} → {number(new.value)}"
    return f"{exponent(old.value)} → {exponent(new.value)}"
