"""initscope show."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from initscope.cli.output import Output
from initscope.cli.signature import with_options
from initscope.store import load


def show(
    files: Annotated[
        list[str], Argument(metavar="FILE...", help="Profiles saved with --json or --parquet.")
    ],
    output: Output,
) -> None:
    """Show saved profiles again, as table, figure or data, without measuring.

    initscope show run.json --plot run.png
    """
    output.check()
    profiles = [profile for file in files for profile in load(file)]

    from initscope.judging import judge

    verdicts = [judge(profile) for profile in profiles]
    output.write(profiles, verdicts)


command = with_options(show)
