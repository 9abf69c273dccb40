"""initscope inspect."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from initscope.cli.architecture import tell_architecture
from initscope.cli.groups import Measurement, RuleName, Shape
from initscope.cli.naming import find_rule
from initscope.cli.output import Output, announce, progress, show
from initscope.cli.own import Own, tell
from initscope.cli.signature import with_options
from initscope.cli.view import view


def inspect(
    shape: Shape,
    measurement: Measurement,
    output: Output,
    own: Own,
    rule: RuleName = "nanogpt",
    remedy: Annotated[
        bool, Option("--remedy/--no-remedy", help="Try changes, and name one that helps.")
    ] = True,
) -> None:
    """Measure one rule, or your model: variance of activations, stream and gradients by layer.

    Depth alone is enough: initscope inspect --n-layer 48, or --model model.py:GPT
    """
    if own.chosen():
        _inspect_own(own, shape, measurement, output)
        return
    found = find_rule(rule)
    config, options = shape.config(found), measurement.options()
    output.check()
    tell_architecture(found, shape.chosen())
    with progress() as report:
        from initscope.judging import judge
        from initscope.remedy import with_remedy
        from initscope.sweep import inspect as measure

        announce(options)
        profile = measure(config, found, options, report=report)
        verdict = judge(profile)
        if remedy and verdict.broken:
            verdict = with_remedy(verdict, found, config, options, report=report)

    output.write([profile], lambda: view([profile], [verdict], all_layers=output.all_layers))


def _inspect_own(own: Own, shape: Shape, measurement: Measurement, output: Output) -> None:
    options = measurement.options()
    output.check()
    announce(options)
    subject = own.subject(shape)
    tell([subject], options)
    if own.print_sites:
        from initscope.cli.found import sites_report

        show(sites_report(*subject.locate(options)))
        return
    with progress() as report:
        from initscope.judging import judge

        profile = subject.inspect(options, report)
    verdict = judge(profile)
    output.write([profile], lambda: view([profile], [verdict], all_layers=output.all_layers))


command = with_options(inspect)
