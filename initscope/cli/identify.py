"""initscope identify."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from initscope.cli.output import show
from initscope.cli.signature import with_options
from initscope.errors import ExitCode
from initscope.files import STDOUT, deliver


def identify(
    checkpoint: Annotated[
        str,
        Argument(
            metavar="CHECKPOINT",
            help="A .safetensors, .pt, .pth or .bin file, an index of shards, or their folder.",
        ),
    ],
    n_head: Annotated[
        int, Option(min=0, help="Attention heads, where the checkpoint does not tell [width / 64].")
    ] = 0,
    top: Annotated[int, Option(min=1, help="Rules to show, the nearest first.")] = 3,
    json: Annotated[
        bool, Option("--json", help="Print what was found as JSON instead of a table.")
    ] = False,
) -> None:
    """Say which rule drew a checkpoint, and what does not fit; exit 1 if no rule fits.

    initscope identify model.safetensors
    """
    from initscope.identifying import identify as look

    found = look(checkpoint, n_head=n_head)
    if json:
        from json import dumps

        from initscope.origin.document import document

        deliver(STDOUT, dumps(document(found, top), indent=2, allow_nan=False) + "\n")
    else:
        from initscope.table.origin import identify_report

        show(identify_report(found, top=top))
    if not found.fits:
        raise SystemExit(ExitCode.OUT_OF_BOUNDS)


command = with_options(identify)
