"""initscope predict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from typer import Option

from initscope.cli.architecture import tell_architecture
from initscope.cli.groups import Shape
from initscope.cli.naming import complete_rule, find_rule
from initscope.cli.output import Output
from initscope.cli.signature import with_options
from initscope.options import Options

_RUN: dict[str, Any] = {"rich_help_panel": "Measurement predicted"}


@dataclass
class Prediction:
    """What measurement to predict."""

    tokens: Annotated[
        str | None,
        Option(
            metavar="zipf|uniform|FILE", **_RUN,
            help="Ids, whose repetition counts: Zipf, uniform, a nanoGPT .bin, or text [zipf].",
        ),
    ] = None  # fmt: skip
    batch: Annotated[int | None, Option(help="Sequences [1].", **_RUN)] = None
    seq_len: Annotated[
        int | None, Option(min=1, help="Tokens a sequence [256, or block_size].", **_RUN)
    ] = None
    seeds: Annotated[
        int | None, Option(help="Draws of ids to average their repetition over [1].", **_RUN)
    ] = None
    forward_only: Annotated[
        bool | None,
        Option("--forward-only/--backward", help="Leave the gradients out [backward].", **_RUN),
    ] = None
    depth_law: Annotated[
        bool | None,
        Option("--depth-law/--no-depth-law", help="Predict n/2 and n/4 blocks too [yes].", **_RUN),
    ] = None
    perturb_zeros: Annotated[
        float | None,
        Option(metavar="STD", help="Take this std for what the rule sets to 0.", **_RUN),
    ] = None

    def options(self) -> Options:
        """Return the measurement's options.

        Raises:
            UsageError: for values that cannot be right.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return Options(**given)


def predict(
    shape: Shape,
    prediction: Prediction,
    output: Output,
    rule: Annotated[
        list[str] | None,
        Option(
            help="Rule to predict [nanogpt]; several are compared.",
            autocompletion=complete_rule,
        ),
    ] = None,
) -> None:
    """Predict what inspect would measure, from theory alone: no weights, no torch, no waiting.

    initscope predict --rule nanogpt --rule xavier --n-layer 1000
    """
    rules = [find_rule(name) for name in rule or ["nanogpt"]]
    configs, options = [shape.config(found) for found in rules], prediction.options()
    output.check()
    for found in rules:
        tell_architecture(found, shape.chosen())

    from initscope.judging import judge
    from initscope.theory import predict as foretell

    pairs = zip(configs, rules, strict=True)
    profiles = [foretell(config, found, options) for config, found in pairs]
    verdicts = [judge(profile) for profile in profiles]
    output.write(profiles, verdicts)


command = with_options(predict)
