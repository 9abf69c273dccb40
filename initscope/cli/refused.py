"""What the parser of the command line refuses, in one sentence as our own errors have it."""

from __future__ import annotations

from typing import Any

import typer

from initscope.errors import unknown

# The parser's base class, by way of a public name: where it is at home differs between versions.
Refused: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def sentence(error: Any) -> str:  # noqa: ANN401 - a Refused, whose class has no public home
    """Say what was wrong, with the nearest name that would be right.

    Nothing is said where a command without its arguments has shown its help instead.
    """
    name = type(error).__name__
    if name == "NoArgsIsHelpError":
        return ""
    if name == "NoSuchOption":
        said = str(unknown("option", error.option_name, _options(error.ctx)))
        all_of_them = f"{error.ctx.command_path} --help lists those that there are"
        return said if "did you mean" in said else f"{said.partition(':')[0]}: {all_of_them}"
    message = " ".join(error.format_message().split()).removesuffix(".")
    return message[:1].lower() + message[1:].replace(". Did you mean", ": did you mean")


def _options(context: Any) -> list[str]:  # noqa: ANN401 - as above
    listed = [option for one in context.command.get_params(context) for option in one.opts]
    return [option for option in listed if option.startswith("--")]
