"""Measuring a module that is given, or a rule on a shape: one function for both."""

from __future__ import annotations

from typing import Any, overload

from torch import nn

from initscope import sweep
from initscope.config import GPTConfig
from initscope.likeness import beside, prescribed, run_of, shape_of
from initscope.options import Options, Report
from initscope.own.subject import OWN
from initscope.profile import Profile, frame
from initscope.resident import feed, measure
from initscope.resident.spread import class_name, ranks_of, share_of_ids
from initscope.rules import get_rule
from initscope.rules.core import Rule


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
    config: nn.Module,
    rule: object = ...,
    options: Options | None = ...,
    *,
    blocks: str = ...,
    against: str | Rule = ...,
) -> Profile: ...
def inspect(
    config: GPTConfig | int | nn.Module,
    rule: Any = None,
    options: Options | None = None,
    *,
    report: Report | None = None,
    blocks: str = "",
    against: str | Rule = "",
) -> Profile:
    """Measure a rule on a GPT of some shape, or a model on a batch.

    ``inspect(48, "nanogpt")`` is :func:`initscope.sweep.inspect`. ``inspect(model, batch)``
    measures any module as it is: where it lies, in the mode it is in, at one depth, and leaves
    it as it was.

    Args:
        config: the shape, its depth alone, or a module.
        rule: a rule; for a module the batch, which is token ids (B, T + 1), each but the last
            an input with the next as its target, or the dictionary or tuple that it is called
            with. Without one, ids are made as ``options`` say. Each rank gives its own share.
        options: how to measure.
        report: called after each block of the streamed engine.
        blocks: the paths of the module's blocks, where they are not found.
        against: the rule that the module should follow; what theory says of it stands beside.

    Raises:
        UsageError: for a request that cannot be right.
        MeasurementError: when memory does not suffice, or a module has nothing to differentiate.
    """
    if not isinstance(config, nn.Module):
        return sweep.inspect(config, rule or "nanogpt", options, report=report)
    options = options or Options()
    ranks = ranks_of(config)
    given = feed(config, share_of_ids(config, options, ranks) if rule is None else rule)
    found = measure(config, given, backward=not options.forward_only, blocks=blocks)
    asked = get_rule(against) if against else None
    readings = [*found.readings, *prescribed(found.anatomy, given, asked)]
    run = run_of(found.anatomy, given, model=class_name(config), tokens=options.tokens, ranks=ranks)
    table = frame(OWN, found.anatomy.n_layer, 0, readings)
    profile = Profile(rule=OWN, config=shape_of(found, given), run=run, table=table)
    return beside(profile, asked, options, found.anatomy, [given]) if asked else profile
