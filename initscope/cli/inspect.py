"""initscope inspect."""

from __future__ import annotations

from initscope.cli.groups import Measurement, RuleName, Shape
from initscope.cli.output import Output, progress, say
from initscope.cli.signature import with_options


def inspect(
    shape: Shape, measurement: Measurement, output: Output, rule: RuleName = "nanogpt"
) -> None:
    """Measure one rule: variance of activations, stream and gradients, layer by layer.

    Depth alone is enough: initscope inspect --n-layer 48
    """
    config, options = shape.config(rule), measurement.options()
    output.check()
    with progress() as report:
        from initscope.devices import choose_device
        from initscope.sweep import inspect as measure

        choice = choose_device(options.device)
        say(f"measuring on {choice.device} ({choice.reason}), {options.dtype}")
        profile = measure(config, rule, options, report=report)

    from initscope.table import inspect_report

    output.write([profile], lambda: inspect_report(profile, all_layers=output.all_layers))


command = with_options(inspect)
