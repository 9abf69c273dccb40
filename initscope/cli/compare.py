"""initscope compare."""

from __future__ import annotations

from collections.abc import Sequence

from initscope.cli.architecture import tell_architecture
from initscope.cli.groups import Measurement, RuleNames, Shape, WithTheory
from initscope.cli.naming import find_rule, is_checkpoint
from initscope.cli.output import Output, announce, progress, tell_theory
from initscope.cli.own import Own, tell
from initscope.cli.signature import with_options
from initscope.errors import UsageError


def compare(
    rules: RuleNames,
    shape: Shape,
    measurement: Measurement,
    output: Output,
    own: Own,
    theory: WithTheory = True,
) -> None:
    """Measure several rules side by side, on the same tokens and the same random numbers.

    initscope compare nanogpt xavier --n-layer 48 --plot rules.png

    With --model the rules draw your model anew; own is the draw that it came with, and a
    checkpoint's file its weights at any step.
    """
    if own.chosen():
        _compare_own(rules, own, shape, measurement, output, theory)
        return
    for name in rules:
        if is_checkpoint(name):
            raise UsageError(f"{name} is a checkpoint: name the model that it is of with --model")
    found = [find_rule(rule) for rule in rules]
    configs, options = [shape.config(rule) for rule in found], measurement.options()
    output.check()
    for rule in found:
        tell_architecture(rule, shape.chosen())
    with progress() as report:
        from initscope.judging import judge
        from initscope.sweep import compare as measure
        from initscope.theory import try_theory

        announce(options)
        profiles = measure(configs, found, options, report=report)
        if theory:
            pairs = zip(profiles, found, strict=True)
            profiles = [try_theory(profile, rule, options) for profile, rule in pairs]

    tell_theory(profiles)
    verdicts = [judge(profile) for profile in profiles]
    output.write(profiles, verdicts)


def _compare_own(
    rules: Sequence[str], own: Own, shape: Shape, measurement: Measurement, output: Output,
    theory: bool,
) -> None:  # fmt: skip
    options = measurement.options()
    output.check()
    announce(options)
    subjects = [own.subject(shape, rule) for rule in rules]
    tell(subjects, options)
    with progress() as report:
        from initscope.judging import judge

        profiles = [subject.inspect(options, report, theory=theory) for subject in subjects]
    tell_theory(profiles)
    verdicts = [judge(profile) for profile in profiles]
    output.write(profiles, verdicts)


command = with_options(compare)
