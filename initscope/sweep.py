"""Measure a rule, or several, over seeds: the Python API and what the commands call."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch

from initscope import __version__
from initscope.config import GPTConfig
from initscope.construction import Allocation
from initscope.devices import choose_device, choose_dtype, require_memory
from initscope.errors import MeasurementError
from initscope.options import Options, Report
from initscope.plan import Plan, Progress
from initscope.profile import Profile, Run, concat, frame
from initscope.rules import config_for, get_rule
from initscope.rules.core import Rule
from initscope.rules.variants import zeros_perturbed
from initscope.sites import (
    block_parameters,
    embedding_parameters,
    head_parameters,
    require_draws,
)
from initscope.stream import measure
from initscope.tokens import describe, tokens

if TYPE_CHECKING:
    import pandas as pd


def inspect(
    config: GPTConfig | int,
    rule: str | Rule = "nanogpt",
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> Profile:
    """Measure one rule and return its profile.

    Args:
        config: the model's shape, or its depth alone.
        rule: a rule's name, or a Rule.
        options: seeds, tokens, device and the like.
        report: called after each block with (what runs, blocks done, blocks in all).

    Raises:
        UsageError: for a request that cannot be right.
        MeasurementError: when memory does not suffice.
    """
    rule, options = _rule(rule, options), options or Options()
    if isinstance(config, int):
        config = config_for(rule, n_layer=config)
    seeds = range(options.seeds)
    run, table = measure_seeds(config, rule, options, seeds, report)
    return Profile(rule=rule.name, config=config, run=run, table=table)


def extend(
    profile: Profile, rule: str | Rule, options: Options, seeds: int, report: Report | None = None
) -> Profile:
    """Return a profile, measured with these options, with more seeds: ``seeds`` in all."""
    more = range(len(profile.run.seeds), seeds)
    rule = _rule(rule, options)
    run, table = measure_seeds(profile.config, rule, options, more, report)
    run = dataclasses.replace(run, seeds=(*profile.run.seeds, *more))
    return dataclasses.replace(profile, run=run, table=concat([profile.table, table]))


def _rule(rule: str | Rule, options: Options | None) -> Rule:
    """Return the rule to measure, its zeros perturbed where that is asked for."""
    rule = get_rule(rule)
    if options is not None and options.perturb_zeros:
        return zeros_perturbed(rule, options.perturb_zeros)
    return rule


def measure_seeds(
    config: GPTConfig,
    rule: Rule,
    options: Options,
    seeds: Sequence[int],
    report: Report | None = None,
) -> tuple[Run, pd.DataFrame]:
    """Measure every depth of a rule with each seed; return how, and the long table."""
    allocation = Allocation(choose_device(options.device).device, choose_dtype(options.dtype))
    require_memory(allocation.device, needed_bytes(config, options, allocation.dtype.itemsize))
    depths = options.depths(config)
    for depth in depths:
        require_draws(rule, config.at_depth(depth))
    progress = Counter(report, rule.name, sum(depths) * len(seeds), options)
    tables = [
        measure_once(config.at_depth(depth), rule, options, allocation, seed, progress)
        for depth in depths
        for seed in seeds
    ]
    run = describe_run(config, options, allocation)
    return dataclasses.replace(run, seeds=tuple(seeds)), concat(tables)


def measure_once(
    config: GPTConfig, rule: Rule, options: Options, allocation: Allocation, seed: int,
    progress: Progress,
) -> pd.DataFrame:  # fmt: skip
    """Measure one depth and one seed; return its long table."""
    ids = tokens(
        options.tokens, vocab_size=config.vocab_size, batch=options.batch,
        length=options.length(config) + 1, seed=seed,
    )  # fmt: skip
    plan = Plan(
        config=config, rule=rule, allocation=allocation, backward=not options.forward_only,
        keep_bytes=options.memory, progress=progress,
    )  # fmt: skip
    with _memory_errors(allocation.device):
        readings = measure(plan, torch.from_numpy(ids), seed)
    return frame(rule.name, config.n_layer, seed, readings)


def describe_run(config: GPTConfig, options: Options, allocation: Allocation) -> Run:
    """Say how the readings were taken."""
    length = options.length(config)
    return Run(
        source="stream", device=str(allocation.device), dtype=options.dtype,
        tokens=describe(options.tokens, options.batch, length), batch=options.batch,
        seq_len=length, seeds=(), versions=versions(),
    )  # fmt: skip


def compare(
    config: GPTConfig | int | Sequence[GPTConfig],
    rules: Sequence[str | Rule],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> list[Profile]:
    """Measure several rules on the same tokens and base random numbers.

    ``config`` is one architecture for all, or one for each rule; a depth alone gives each rule
    its own (:func:`~initscope.rules.config_for`). All rules are checked before the first
    measurement. See :func:`inspect`.
    """
    known = [get_rule(rule) for rule in rules]
    if isinstance(config, int):
        config = [config_for(rule, n_layer=config) for rule in known]
    configs = [config] * len(known) if isinstance(config, GPTConfig) else config
    for own, rule in zip(configs, known, strict=True):
        require_draws(rule, own)
    return [
        inspect(own, rule, options, report=report) for own, rule in zip(configs, known, strict=True)
    ]


class Counter:
    """Turns the engine's "one more block" into counts over all depths and seeds."""

    def __init__(self, report: Report | None, name: str, blocks: int, options: Options) -> None:
        self.report, self.name = report, name
        self.done, self.total = 0, blocks * (1 if options.forward_only else 2)

    def __call__(self, direction: str) -> None:
        """Count a block."""
        self.done += 1
        if self.report is not None:
            self.report(f"{self.name}, {direction}", self.done, self.total)


def needed_bytes(config: GPTConfig, options: Options, item: int) -> int:
    """Estimate the peak: what surrounds the blocks, two blocks and the boundary activations."""
    ends = [*embedding_parameters(config), *head_parameters(config)]
    weights = sum(math.prod(p.shape) for p in ends)
    block = sum(math.prod(p.shape) for p in block_parameters(config, 0))
    boundaries = 0 if options.forward_only else config.n_layer
    kept = min(options.memory, config.n_layer * block * item)
    tokens_ = options.batch * options.length(config)
    activations = tokens_ * (config.n_embd * (boundaries + 16) + 6 * config.d_ff)
    return (weights + 2 * block + activations) * item + kept


@contextmanager
def _memory_errors(device: torch.device) -> Iterator[None]:
    """Turn an allocator's refusal into one sentence."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MeasurementError(_TOO_LARGE.format(device=device)) from error
    except RuntimeError as error:
        if "alloc" not in str(error):
            raise
        raise MeasurementError(_TOO_LARGE.format(device=device)) from error


_TOO_LARGE = (
    "out of memory on {device}; a smaller --seq-len or --batch, or --forward-only, needs less"
)


def versions() -> dict[str, str]:
    """Return the versions that a reading depends on."""
    return {
        "initscope": __version__,
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }
