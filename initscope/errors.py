"""The errors a user can meet, each with the exit code it ends in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller."""

    OK = 0
    OUT_OF_BOUNDS = 1
    USAGE = 2
    MEASUREMENT = 3
    INTERRUPTED = 130  # 128 + SIGINT, as shells report it
    BROKEN_PIPE = 141  # 128 + SIGPIPE


class InitscopeError(Exception):
    """Base class: the message is one sentence for a person, never a traceback."""

    exit_code = ExitCode.MEASUREMENT


class UsageError(InitscopeError):
    """The request itself cannot be right: a wrong name, value, file or setting."""

    exit_code = ExitCode.USAGE


class MeasurementError(InitscopeError):
    """The request was right, but measuring it failed."""

    exit_code = ExitCode.MEASUREMENT


class PluginWarning(UserWarning):
    """A package offers a rule that cannot be used."""


class OutOfBoundsError(InitscopeError):
    """A verdict that the caller asked to be stopped by."""

    exit_code = ExitCode.OUT_OF_BOUNDS


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that does not exist, naming the nearest that does.

    >>> str(unknown("rule", "nanogtp", ["nanogpt", "xavier"]))
    "unknown rule 'nanogtp': did you mean 'nanogpt'?"
    """
    names = {known_name.lower(): known_name for known_name in known}
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {names[near[0]]!r}?" if near else f"known are {', '.join(names.values())}"
    return UsageError(f"unknown {kind} {name!r}: {hint}")
