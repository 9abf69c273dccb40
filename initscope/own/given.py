"""Measuring a module that is given, or a rule on a shape: one function for both."""

from __future__ import annotations

from typing import Any, overload

from torch import nn

from initscope import sweep
from initscope.config import GPTConfig
from initscope.options import Options, Report
from initscope.own.describing import describe_model, describe_run
from initscope.own.subject import OWN
from initscope.profile import Profile, frame
from initscope.resident import feed, measure
from initscope.rules.core import Rule
from initscope.target import token_ids


@overload
def inspect(
    config: GPTConfig | int,
    rule: str | Rule = ...,
    options: Options | None = ...,
    *,
    report: Report | None = ...,
) -> Profile: ...
@overload
def inspect(
    config: nn.Module, rule: object = ..., options: Options | None = ..., *, blocks: str = ...
) -> Profile: ...
def inspect(
    config: GPTConfig | int | nn.Module,
    rule: Any = None,
    options: Options | None = None,
    *,
    report: Report | None = None,
    blocks: str = "",
) -> Profile:
    """Measure a rule on a GPT of some shape, or a model on a batch.

    ``inspect(48, "nanogpt")`` is :func:`initscope.sweep.inspect`. ``inspect(model, batch)``
    measures any module as it is: where it lies, in the mode it is in, at one depth, and leaves
    it as it was.

    Args:
        config: the shape, its depth alone, or a module.
        rule: a rule; for a module the batch, which is token ids (B, T + 1), each but the last
            an input with the next as its target, or the dictionary or tuple that it is called
            with. Without one, ids are made as ``options`` say.
        options: how to measure.
        report: called after each block of the streamed engine.
        blocks: the paths of the module's blocks, where they are not found.

    Raises:
        UsageError: for a request that cannot be right.
        MeasurementError: when memory does not suffice, or a module has nothing to differentiate.
    """
    if not isinstance(config, nn.Module):
        return sweep.inspect(config, rule or "nanogpt", options, report=report)
    options = options or Options()
    batch = token_ids(config, options, None, 0) if rule is None else rule
    given = feed(config, batch)
    found = measure(config, given, backward=not options.forward_only, blocks=blocks)
    run = describe_run(options, found.anatomy, given, type(config).__name__)
    table = frame(OWN, found.anatomy.n_layer, 0, found.readings)
    described = describe_model(found.anatomy, given, found.vocab_size)
    return Profile(rule=OWN, config=described, run=run, table=table)
