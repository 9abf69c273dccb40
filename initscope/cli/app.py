"""The application, its commands and its exit codes."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from initscope import __version__
from initscope.cli import (
    audit,
    check,
    compare,
    design,
    explain,
    identify,
    inspect,
    predict,
    rules,
    show,
    torchrun,
)
from initscope.cli.refused import Refused, sentence
from initscope.errors import ExitCode, InitscopeError, PluginWarning
from initscope.tuning import tune

_EPILOG = "Exit codes: 0 done · 1 out of bounds · 2 wrong request · 3 the measurement failed."

app = typer.Typer(
    name="initscope",
    help="See how a GPT's signal explodes or collapses at initialisation, before you train it.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # "rich" takes the [defaults] in the help for its own tags
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (inspect, compare, predict, design, check, audit, identify, explain, rules, show):
    app.command(no_args_is_help=module in {compare, design, explain, identify, show})(
        module.command
    )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"initscope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that precede a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no exception leaves it."""
    tune()
    with warnings.catch_warnings():
        warnings.simplefilter("always", PluginWarning)
        before = warnings.showwarning
        warnings.showwarning = lambda *said, **more: _warn(before, *said, **more)
        return _run(argv)


def _warn(before: Callable[..., None], message: Warning | str, *said: Any, **more: Any) -> None:  # noqa: ANN401 - passed on
    """Say in a line what is wrong with a plugin; other warnings are Python's."""
    if isinstance(message, PluginWarning):
        _complain(f"warning: {message}")
    else:
        before(message, *said, **more)


def _run(argv: Sequence[str] | None) -> int:
    try:
        torchrun.refuse()
        arguments = None if argv is None else list(argv)
        return _code(app(arguments, prog_name="initscope", standalone_mode=False))
    except SystemExit as stop:
        return _code(stop.code)
    except (InitscopeError, Refused) as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError as error:
        _complain(f"error: {error}")
        return ExitCode.MEASUREMENT
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not a verdict of 1
        _unexpected(error)
        return ExitCode.MEASUREMENT


def _refuse(error: Exception) -> int:
    if isinstance(error, InitscopeError):
        _complain(f"error: {error}")
        return error.exit_code
    if said := sentence(error):
        _complain(f"error: {said}")
    return ExitCode.USAGE


def _code(code: object) -> int:
    """Return an exit code; a plain 1 is what Typer and rich end a closed pipe in."""
    if code is None or isinstance(code, ExitCode):
        return code or ExitCode.OK
    if not isinstance(code, int):
        return ExitCode.USAGE
    return ExitCode.BROKEN_PIPE if code == 1 else code


def _unexpected(error: Exception) -> None:
    if os.environ.get("INITSCOPE_DEBUG"):
        traceback.print_exception(error)
    _complain(
        f"error: {type(error).__name__}: {error} "
        "(a bug; INITSCOPE_DEBUG=1 shows where, and the project would like to know)"
    )


def _complain(message: str) -> None:
    with suppress(OSError, AttributeError):  # a stderr that is full, or none at all
        sys.stderr.write(f"initscope: {message}\n")
