"""initscope compare."""

from __future__ import annotations

from collections.abc import Sequence

from initscope.cli.groups import Measurement, RuleNames, Shape
from initscope.cli.output import Output, announce, progress, say
from initscope.cli.own import Own
from initscope.cli.signature import with_options
from initscope.cli.view import view


def compare(
    rules: RuleNames, shape: Shape, measurement: Measurement, output: Output, own: Own
) -> None:
    """Measure several rules side by side, on the same tokens and the same random numbers.

    initscope compare nanogpt xavier --n-layer 48 --plot rules.png

    With --model the rules draw your model anew; own is the draw that it came with.
    """
    if own.chosen():
        _compare_own(rules, own, shape, measurement, output)
        return
    from initscope.rules import get_rule

    configs, options = [shape.config(rule) for rule in rules], measurement.options()
    output.check()
    for rule in rules:
        brought = get_rule(rule).architecture
        if brought:
            said = ", ".join(f"{name}={value}" for name, value in brought.items())
            say(f"{rule} brings its own architecture, where no option says otherwise: {said}")
    with progress() as report:
        from initscope.judging import judge
        from initscope.sweep import compare as measure

        announce(options)
        profiles = measure(configs, rules, options, report=report)

    verdicts = [judge(profile) for profile in profiles]
    output.write(profiles, lambda: view(profiles, verdicts, all_layers=output.all_layers))


def _compare_own(
    rules: Sequence[str], own: Own, shape: Shape, measurement: Measurement, output: Output
) -> None:
    options = measurement.options()
    output.check()
    announce(options)
    subjects = [own.subject(shape, rule) for rule in rules]
    with progress() as report:
        from initscope.judging import judge

        profiles = [subject.inspect(options, report) for subject in subjects]
    verdicts = [judge(profile) for profile in profiles]
    output.write(profiles, lambda: view(profiles, verdicts, all_layers=output.all_layers))


command = with_options(compare)
