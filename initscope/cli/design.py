"""initscope design."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from initscope.cli.architecture import tell_architecture
from initscope.cli.groups import Measurement, Shape
from initscope.cli.naming import complete_rule, find_rule
from initscope.cli.output import announce, print_json, progress, say, show
from initscope.cli.signature import with_options
from initscope.errors import ExitCode, UsageError
from initscope.files import STDOUT, check_writable, deliver

if TYPE_CHECKING:
    from initscope.config import GPTConfig
    from initscope.designing import Design, Outcome, Targets
    from initscope.options import Options

EQUAL = "equal"
_AIM: dict[str, Any] = {"rich_help_panel": "Targets"}
_OUT: dict[str, Any] = {"rich_help_panel": "Output"}


@dataclass
class Aim:
    """What is asked for."""

    final_variance: Annotated[
        float | None, Option(help="Variance of the stream after the last block.", **_AIM)
    ] = None
    growth: Annotated[float | None, Option(help="That over the embedding's variance.", **_AIM)] = (
        None
    )
    gradient_ratio: Annotated[
        float | None,
        Option(help="Mean square of the gradient entering the first block over that leaving the "
               "last.", **_AIM),
    ] = None  # fmt: skip
    branch_shares: Annotated[
        str | None,
        Option(metavar="equal|SHARE", help="Attention's share of what the branches add; equal is "
               "as much as the MLP's.", **_AIM),
    ] = None  # fmt: skip
    layer_shares: Annotated[
        str | None, Option(metavar=EQUAL, help="Let every layer add the same.", **_AIM)
    ] = None

    def targets(self) -> Targets:
        """Return the targets.

        Raises:
            UsageError: for what cannot be right.
        """
        from initscope.designing import Targets

        if self.layer_shares not in {None, EQUAL}:
            raise UsageError(f"--layer-shares can only be {EQUAL}, not {self.layer_shares!r}")
        return Targets(
            final_variance=self.final_variance, growth=self.growth,
            gradient_ratio=self.gradient_ratio, attention_share=_share(self.branch_shares),
            layer_evenness=self.layer_shares is not None,
        )  # fmt: skip


def _share(text: str | None) -> float | None:
    if text is None or text == EQUAL:
        return None if text is None else 0.5
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--branch-shares must be {EQUAL}, or attention's share between 0 and 1, not {text!r}"
        ) from None


@dataclass
class Result:
    """What is made of the rule that was found."""

    name: Annotated[str, Option(help="Name of the rule that is made.", **_OUT)] = "designed"
    measure: Annotated[
        bool, Option("--measure/--no-measure", help="Verify it with a measured run.", **_OUT)
    ] = True
    output: Annotated[
        str | None,
        Option(metavar="FILE", help="Write the settings there, and the table to stdout.", **_OUT),
    ] = None
    force: Annotated[bool, Option("--force", help="Overwrite that file.", **_OUT)] = False
    json: Annotated[
        bool, Option("--json", help="Print all that was found as JSON instead.", **_OUT)
    ] = False

    def check(self) -> None:
        """Refuse, before anything is solved, a file that could not be written or must be kept.

        Raises:
            UsageError: saying what would be right.
        """
        if self.output is None:
            return
        check_writable(self.output)
        if Path(self.output).is_file() and not self.force:
            raise UsageError(
                f"{self.output} exists already: --force overwrites it, and without --output "
                f">> {self.output} adds to it"
            )

    def deliver(self, found: Design, outcome: Outcome | None) -> None:
        """Write the settings, and show what they are worth.

        Raises:
            MeasurementError: when something could not be written.
        """
        from initscope.table.design import design_report

        table = design_report(found, outcome)
        if self.json:
            from initscope.designing.document import document

            print_json(document(found, outcome))
        elif self.output is None:
            show(table, stderr=True)
            deliver(STDOUT, found.toml)
        else:
            show(table)
        if self.output is not None:
            deliver(self.output, found.toml)
            say(f"wrote {self.output}")


def design(
    shape: Shape,
    aim: Aim,
    measurement: Measurement,
    result: Result,
    like: Annotated[
        str,
        Option(
            metavar="RULE",
            help="Rule to start from; what is not solved for stays as it has it.",
            autocompletion=complete_rule,
        ),
    ] = "nanogpt",
) -> None:
    """Solve for a rule that meets a target, and verify it; exit 1 if a run contradicts theory.

    initscope design --n-layer 48 --final-variance 1 >> initscope.toml

    The settings of the rule go to stdout, the table beside them to stderr.
    """
    base, targets, options = find_rule(like), aim.targets(), measurement.options()
    config = shape.config(base)
    result.check()
    tell_architecture(base, shape.chosen())

    from initscope.designing import design as solve

    found = solve(config, base, targets, options, name=result.name)
    outcome = _measured(found, config, options) if result.measure else None
    result.deliver(found, outcome)
    if outcome is not None and outcome.astray:
        raise SystemExit(ExitCode.OUT_OF_BOUNDS)


def _measured(found: Design, config: GPTConfig, options: Options) -> Outcome:
    with progress() as report:
        from initscope.sweep import inspect

        announce(options)
        return found.outcome(inspect(config, found.rule, options, report=report))


command = with_options(design)
