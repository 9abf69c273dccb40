"""Settings of ``initscope check``: from a file or none, and the one home of their defaults.

A file is ``initscope.toml``, or ``pyproject.toml`` with the same under ``[tool.initscope]``::

    [check]                      # defaults for every check below
    n_embd = 128                 # shape and measurement are flat
    [check.bounds]
    depth_exponent = 0.3
    [check.levels]
    branch-balance = "warn"

    [[checks]]                   # a matrix of rules and depths
    name = "pretrain"
    rule = ["nanogpt", "xavier", "mine"]
    n_layer = [12, 48]

    [rules.mine]                 # a rule of your own, for every command
    base = "nanogpt"
    attn_out.std = "0.02 / sqrt(n_embd)"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from initscope.rules import Rule
from initscope.settings.check import CheckSettings
from initscope.settings.rules import read_rules
from initscope.settings.source import find, open_source
from initscope.settings.tables import read_checks

__all__ = ["CheckSettings", "Settings", "load_rules", "load_settings"]

DEFAULT = CheckSettings(name="check")


@dataclass(frozen=True)
class Settings:
    """The checks to run, the file that asks for them, if any, and its own rules by name."""

    source: Path | None
    checks: tuple[CheckSettings, ...]
    rules: Mapping[str, Rule] = field(default_factory=dict)


def load_settings(
    path: Path | None = None,
    *,
    start: Path | None = None,
    known: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings from a file, or from the nearest one at or above ``start``.

    In each folder up to the root of the repository, ``initscope.toml`` comes before a
    ``pyproject.toml`` with a table ``[tool.initscope]``. Without either there is one check,
    with the defaults.

    Args:
        path: the file, instead of looking for one.
        start: where to begin looking; the working directory unless given.
        known: every check's name by its code; the registered ones unless given.

    Raises:
        UsageError: for a file that cannot be read or is not TOML, and for whatever in it is
            unknown or cannot be right, naming the file, the key and what would be right.
    """
    source = open_source(path) if path else find(start or Path.cwd())
    if source is None:
        return Settings(None, (DEFAULT,))
    rules = read_rules(source)
    return Settings(source.path, read_checks(source, DEFAULT, known, rules), rules)


def load_rules(start: Path | None = None) -> dict[str, Rule]:
    """Read the own rules alone, from the file that :func:`load_settings` would find.

    Raises:
        UsageError: for a file that cannot be read or is not TOML, and a rule that cannot be right.
    """
    source = find(start or Path.cwd())
    return {} if source is None else read_rules(source)
