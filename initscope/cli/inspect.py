"""initscope inspect."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from initscope.cli.groups import Measurement, RuleName, Shape
from initscope.cli.naming import find_rule
from initscope.cli.output import Output, announce, progress
from initscope.cli.signature import with_options
from initscope.cli.view import view


def inspect(
    shape: Shape,
    measurement: Measurement,
    output: Output,
    rule: RuleName = "nanogpt",
    remedy: Annotated[
        bool, Option("--remedy/--no-remedy", help="Try changes, and name one that helps.")
    ] = True,
) -> None:
    """Measure one rule: variance of activations, stream and gradients, layer by layer.

    Depth alone is enough: initscope inspect --n-layer 48
    """
    found = find_rule(rule)
    config, options = shape.config(found), measurement.options()
    output.check()
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


command = with_options(inspect)
