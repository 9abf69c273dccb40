"""The command line under torchrun: it is one process, so several would write the same files."""

from __future__ import annotations

import os

from initscope.errors import ExitCode, UsageError


def refuse() -> None:
    """Refuse to run as one of several workers; the first of them says why.

    Raises:
        UsageError: in the first worker.
        SystemExit: in the others, with the same exit code.
    """
    workers = os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" not in os.environ or workers == "1":
        return
    if os.environ.get("RANK", "0") != "0":
        raise SystemExit(ExitCode.USAGE)
    raise UsageError(
        f"the command line is one process, and torchrun started {workers} of it: run it without "
        "torchrun, or call initscope.inspect(model, batch) in the script that spreads the model "
        "(docs/distributed.md)"
    )
