"""A remedy is a change that was measured to help; one that was not is not named."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from initscope.bounds import Bounds
from initscope.config import GPTConfig
from initscope.decide import decide
from initscope.judging import judge
from initscope.notation import number
from initscope.options import Options, Report
from initscope.rules import get_rule
from initscope.rules.core import RESIDUAL, Rule
from initscope.rules.variants import quiet_head, residual_scaled
from initscope.sites import block_parameters, embedding_parameters, head_parameters
from initscope.verdict import Finding, Level, Status, Verdict

PROBE_WIDTH = 128  # growth laws do not depend on the width, so a remedy is tried on a narrow model

GROWTH = frozenset({
    "depth-exponent", "gradient-exponent", "exponential-stream", "exponential-gradient", "non-finite",
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


def _say_stds(roles: frozenset[str], change: Callable[[Rule], Rule], how: str) -> Callable[..., str]:
    def say(rule: Rule, config: GPTConfig) -> str:
        before, after = (_stds(r, config, roles) for r in (rule, change(rule)))
        moved = [f"{k} {number(before[k])} → {number(after[k])}" for k in before if after[k] != before[k]]
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
    broken = {f.name: f for f in verdict.of(Status.BROKEN) if f.level is Level.ERROR}
    wanted = set(broken) & (GROWTH | HOT)
    rule = get_rule(rule)
    for change in CHANGES:
        if not wanted or not wanted <= change.mends:
            continue
        changed, shape = change.apply(rule, config)
        if (_all_stds(changed, shape), shape) == (_all_stds(rule, config), config):
            continue  # it has that already
        shape = shape if wanted & HOT else _narrow(shape)
        judged = partial(judge, bounds=bounds)
        after = decide(shape, changed, options, judged, report=report).verdict
        if _mended(after, wanted):
            moved = "; ".join(_moved(broken, after, wanted))
            where = f"measured at width {shape.n_embd}, {shape.n_layer} layers"
            said = f"{change.say(rule, config)}: {moved} ({where})"
            return dataclasses.replace(verdict, remedy=said)
    return verdict


def _all_stds(rule: Rule, config: GPTConfig) -> dict[str, float]:
    return _stds(rule, config, RESIDUAL | {"wte", "head"})


def _narrow(config: GPTConfig) -> GPTConfig:
    """Return the same model at the probe's width, if it is wider."""
    if config.n_embd <= PROBE_WIDTH:
        return config
    return dataclasses.replace(config, n_embd=PROBE_WIDTH, n_head=0, n_kv_head=0, d_ff=0)


def _mended(verdict: Verdict, wanted: set[str]) -> bool:
    """Whether what was broken is kept, and nothing else of its kind broke."""
    broken = {f.name for f in verdict.of(Status.BROKEN, Status.INCONCLUSIVE)}
    return not broken & (wanted | GROWTH)


def _moved(before: dict[str, Finding], after: Verdict, wanted: set[str]) -> Iterator[str]:
    """Say how each mended number moved: ``depth-exponent 1.02 → 0.03``."""
    for finding in after.findings:
        if finding.name not in wanted:
            continue
        old, new = before[finding.name].value, finding.value
        if old is not None and new is not None and math.isfinite(old):
            yield f"{finding.name} {number(old)} → {number(new)}"
        else:
            yield f"{finding.name} mended"
