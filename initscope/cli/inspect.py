"""initscope inspect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Option

from initscope.cli.architecture import tell_architecture
from initscope.cli.groups import Measurement, Shape, WithTheory
from initscope.cli.naming import complete_rule, find_rule
from initscope.cli.output import Output, announce, progress, show, tell_theory
from initscope.cli.own import Own, tell
from initscope.cli.signature import with_options


@dataclass
class Said:
    """What is said beside the measurement itself."""

    rule: Annotated[
        str | None,
        Option(metavar="RULE", autocompletion=complete_rule,
               help="Initialisation, a name of initscope rules or NAME:KEY=FORMULA,... [nanogpt]; "
               "with --model the rule that its own draw should follow [none]."),
    ] = None  # fmt: skip
    theory: WithTheory = True
    remedy: Annotated[
        bool, Option("--remedy/--no-remedy", help="Try changes, and name one that helps.")
    ] = True


def inspect(shape: Shape, measurement: Measurement, output: Output, own: Own, said: Said) -> None:
    """Measure one rule, or your model: variance of activations, stream and gradients by layer.

    Depth alone is enough: initscope inspect --n-layer 48, or --model model.py:GPT
    """
    if own.chosen():
        _inspect_own(own, shape, measurement, output, said)
        return
    found = find_rule(said.rule or "nanogpt")
    config, options = shape.config(found), measurement.options()
    output.check()
    tell_architecture(found, shape.chosen())
    with progress() as report:
        from initscope.judging import judge
        from initscope.remedy import with_remedy
        from initscope.sweep import inspect as measure
        from initscope.theory import try_theory

        announce(options)
        profile = measure(config, found, options, report=report)
        profile = try_theory(profile, found, options) if said.theory else profile
        verdict = judge(profile)
        if said.remedy and verdict.broken:
            verdict = with_remedy(verdict, found, config, options, report=report)

    tell_theory([profile])
    output.write([profile], [verdict])


def _inspect_own(
    own: Own, shape: Shape, measurement: Measurement, output: Output, said: Said
) -> None:
    options = measurement.options()
    output.check()
    announce(options)
    subject = own.subject(shape, against=said.rule)
    tell([subject], options)
    if own.print_sites:
        from initscope.cli.found import sites_report

        show(sites_report(*subject.locate(options)))
        return
    with progress() as report:
        from initscope.judging import judge

        profile = subject.inspect(options, report, theory=said.theory)
    tell_theory([profile])
    verdict = judge(profile)
    output.write([profile], [verdict])


command = with_options(inspect)
