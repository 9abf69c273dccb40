"""initscope show."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from initscope.cli.output import Output
from initscope.cli.signature import with_options
from initscope.store import load


def show(
    files: Annotated[
        list[str],
        Argument(metavar="FILE...", help="Profiles saved with --json or --parquet, or by a watch."),
    ],
    output: Output,
) -> None:
    """Show saved profiles again, as table, figure or data, without measuring.

    A watched training run is shown over its steps; beside other files it stands for its last
    profile.

    initscope show run.json --plot run.png
    """
    output.check()

    from initscope.digest import continued, is_run
    from initscope.judging import judge

    loaded = [continued(one) if is_run(one) else one for one in map(load, files)]
    run = len(loaded) == 1 and is_run(loaded[0])
    profiles = [one for each in loaded for one in (each[-1:] if is_run(each) and not run else each)]
    verdicts = [judge(profile, since=profiles[0] if run else None) for profile in profiles]
    output.write(profiles, verdicts, run=run)


command = with_options(show)
