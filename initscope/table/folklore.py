"""What is told of nanoGPT, claim by claim, beside its code and a measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType

from initscope.captions import Note
from initscope.table.sheet import Page, Report

_BELOW = {"measured": "measured", "try": "command"}


def claims_report(
    claims: Sequence[Mapping[str, str]], *, width: int | None = None
) -> RenderableType:
    """Show claims below each other: the verdict, what the code does, and what was measured.

    Args:
        claims: claims with their answers, as :meth:`initscope.folklore.Row.to_dict` gives them.
        width: characters to use; the console's unless given.
    """
    return Report(lambda page: _report(page, claims), width)


def _report(page: Page, claims: Sequence[Mapping[str, str]]) -> Iterator[RenderableType]:
    for number, claim in enumerate(claims):
        if number:
            yield ""
        yield page.text(claim["claim"], "bold")
        notes = [(claim["verdict"], claim["code"])]
        notes += [(label, claim[key]) for label, key in _BELOW.items()]
        # The marks of code belong to the page in docs/.
        yield page.notes([Note(label, text.replace("`", "")) for label, text in notes])
