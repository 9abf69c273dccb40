"""Measure a rule, or several, over seeds: the Python API and what the commands call."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import chain, islice
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import torch

from initscope import __version__
from initscope.config import GPTConfig
from initscope.construction import Allocation
from initscope.devices import choose_device, choose_dtype, free_bytes, require_memory
from initscope.errors import MeasurementError
from initscope.lanes import side_by_side
from initscope.options import Options, Report
from initscope.plan import Plan, needed_bytes
from initscope.profile import Profile, Run, concat, frame
from initscope.rules import config_for, get_rule
from initscope.rules.core import Rule
from initscope.rules.variants import zeros_perturbed
from initscope.sites import require_draws
from initscope.stream import measure
from initscope.tokens import describe, tokens

if TYPE_CHECKING:
    import pandas as pd

LANE_BYTES = 2 << 30  # what all passes that run at once may take


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
    return compare(config, [rule], options, report=report)[0]


def extend(
    profile: Profile, rule: str | Rule, options: Options, seeds: int, report: Report | None = None
) -> Profile:
    """Return a profile, measured with these options, with more seeds: ``seeds`` in all."""
    more = range(len(profile.run.seeds), seeds)
    (new,) = _measure([(profile.config, _rule(rule, options))], options, more, report)
    run = dataclasses.replace(profile.run, seeds=(*profile.run.seeds, *more))
    return dataclasses.replace(profile, run=run, table=concat([profile.table, new.table]))


def _rule(rule: str | Rule, options: Options) -> Rule:
    """Return the rule to measure, its zeros perturbed where that is asked for."""
    rule = get_rule(rule)
    return zeros_perturbed(rule, options.perturb_zeros) if options.perturb_zeros else rule


class Pass(NamedTuple):
    """One depth of one rule under one seed."""

    config: GPTConfig
    rule: Rule
    seed: int


def _measure(
    requests: Sequence[tuple[GPTConfig, Rule]],
    options: Options,
    seeds: Sequence[int],
    report: Report | None,
) -> list[Profile]:
    """Measure every depth of every request with each seed; return a profile a request."""
    allocation = Allocation(choose_device(options.device).device, choose_dtype(options.dtype))
    passes = [
        [Pass(config.at_depth(depth), rule, seed)
         for depth in options.depths(config) for seed in seeds]
        for config, rule in requests
    ]  # fmt: skip
    for config, rule in requests:  # all of them, before hours go into the first
        for depth in options.depths(config):
            require_draws(rule, config.at_depth(depth))
        require_memory(allocation.device, _needed(config, rule, options, allocation))
    tables = iter(_run(list(chain.from_iterable(passes)), options, allocation, report))
    return [
        Profile(
            rule=rule.name, config=config, table=concat(list(islice(tables, len(own)))),
            run=describe_run(config, options, allocation, seeds),
        )
        for (config, rule), own in zip(requests, passes, strict=True)
    ]  # fmt: skip


def _run(
    passes: Sequence[Pass], options: Options, allocation: Allocation, report: Report | None
) -> list[pd.DataFrame]:
    """Run the passes side by side, the deepest first, so that none is left over at the end."""
    progress = Counter(report, sum(one.config.n_layer for one in passes), options)
    order = sorted(range(len(passes)), key=lambda place: -passes[place].config.n_layer)
    jobs = [partial(measure_once, passes[i], options, allocation, progress) for i in order]
    needed = max(_needed(one.config, one.rule, options, allocation) for one in passes)
    tables = side_by_side(jobs, lanes(allocation.device, needed))
    return [table for _, table in sorted(zip(order, tables, strict=True), key=itemgetter(0))]


def lanes(device: torch.device, needed: int) -> int:
    """Return how many passes may run at once: a core each, and little memory together."""
    if device.type != "cpu":
        return 1
    free = free_bytes(device)
    budget = LANE_BYTES if free is None else min(LANE_BYTES, free)
    return max(1, min(torch.get_num_threads(), budget // needed))


def measure_once(
    one: Pass, options: Options, allocation: Allocation, progress: Counter,
    checkpoint: Callable[[], None],
) -> pd.DataFrame:  # fmt: skip
    """Measure one pass; return its long table."""
    config, rule, seed = one

    def on_block(direction: str) -> None:
        progress(f"{rule.name}, {direction}")
        checkpoint()

    ids = tokens(
        options.tokens, vocab_size=config.vocab_size, batch=options.batch,
        length=options.length(config) + 1, seed=seed,
    )  # fmt: skip
    plan = Plan(
        config=config, rule=rule, allocation=allocation, backward=not options.forward_only,
        keep_bytes=options.memory, progress=on_block,
    )  # fmt: skip
    with memory_errors(allocation.device):
        readings = measure(plan, torch.from_numpy(ids), seed)
    return frame(rule.name, config.n_layer, seed, readings)


def describe_run(
    config: GPTConfig, options: Options, allocation: Allocation, seeds: Sequence[int]
) -> Run:
    """Say how the readings were taken."""
    length = options.length(config)
    return Run(
        source="stream", device=str(allocation.device), dtype=options.dtype,
        tokens=describe(options.tokens, options.batch, length), batch=options.batch,
        seq_len=length, seeds=tuple(seeds), versions=versions(),
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
    options = options or Options()
    known = [_rule(rule, options) for rule in rules]
    if isinstance(config, int):
        config = [config_for(rule, n_layer=config) for rule in known]
    configs = [config] * len(known) if isinstance(config, GPTConfig) else config
    return _measure(list(zip(configs, known, strict=True)), options, range(options.seeds), report)


class Counter:
    """Turns the engine's "one more block" into counts over all passes, whatever their thread."""

    def __init__(self, report: Report | None, blocks: int, options: Options) -> None:
        self.report, self._lock = report, Lock()
        self.done, self.total = 0, blocks * (1 if options.forward_only else 2)

    def __call__(self, what: str) -> None:
        """Count a block."""
        with self._lock:
            self.done += 1
            if self.report is not None:
                self.report(what, self.done, self.total)


def _needed(config: GPTConfig, rule: Rule, options: Options, allocation: Allocation) -> int:
    return needed_bytes(
        config, rule, allocation, options.batch * options.length(config),
        keep_bytes=options.memory, backward=not options.forward_only,
    )  # fmt: skip


@contextmanager
def memory_errors(device: torch.device) -> Iterator[None]:
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
