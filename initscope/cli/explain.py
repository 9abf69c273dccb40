"""initscope explain."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, echo

from initscope.cli.signature import with_options


def explain(
    check: Annotated[str, Argument(metavar="CHECK", help="A check's code or name: IS001.")],
) -> None:
    """Explain a check: what it wants, its threshold, why, and the source.

    initscope explain IS001
    """
    from initscope.checks import get_check
    from initscope.reference import check_lines

    echo("\n".join(check_lines(get_check(check))))


command = with_options(explain)
