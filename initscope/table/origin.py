"""Which rule drew a checkpoint: what was measured, beside what the nearest rules say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from initscope.captions import Note
from initscope.origin import words
from initscope.origin.groups import Group
from initscope.origin.matching import Match
from initscope.origin.result import Identification
from initscope.rules.core import Draw
from initscope.table.sheet import BAD, Cell, Column, Page, Report

MISFIT = "✕"


def identify_report(
    found: Identification, *, top: int = 3, width: int | None = None
) -> RenderableType:
    """Show a group of parameters a row, and what does not fit in words below.

    Args:
        found: what was found.
        top: rules to show, the nearest first.
        width: characters to use; the console's unless given.
    """
    return Report(lambda page: _report(page, found, top), width)


def _report(page: Page, found: Identification, top: int) -> Iterator[RenderableType]:
    yield page.text(words.headline(found), "bold" if found.nearest.fits else BAD)
    yield page.facts(words.facts(found))
    yield ""
    columns = list(_columns(found, found.matches[:top]))
    yield page.table(columns)
    yield ""
    yield page.notes([*_notes(found, top), *page.omissions(columns)])


def _columns(found: Identification, matches: Sequence[Match]) -> Iterator[Column]:
    groups = found.groups
    yield Column(("group",), [Cell(group.label) for group in groups], left=True)
    yield Column(("shape",), [Cell(group.distribution) for group in groups], rank=1, left=True)
    yield Column(("measured",), [Cell(_measured(group)) for group in groups], "std")
    for place, match in enumerate(matches):
        cells = [_prescribed(group, match) for group in groups]
        yield Column((words.names(match)[0],), cells, "std", rank=2 * place)
    names = [Cell(group.members[0].named.name) for group in groups]
    yield Column(("parameter", "(the first)"), names, rank=2 * len(matches) + 1, left=True)


def _measured(group: Group) -> str:
    if all(member.sample.constant for member in group.members):
        return "–"
    return words.spread(group.stds)


def _prescribed(group: Group, match: Match) -> Cell:
    draws = [match.rules[0].draw(member.named.site) for member in group.members]
    wrong = any(miss.group is group for miss in match.misses)
    return Cell(f"{MISFIT if wrong else ' '} {_std(draws)}", BAD if wrong else "")


def _std(draws: Sequence[Draw]) -> str:
    if all(draw.std == 0 for draw in draws):
        return words.says(draws)
    return words.spread([draw.std for draw in draws])


def _notes(found: Identification, top: int) -> Iterator[Note]:
    best = found.nearest
    yield from _misfits(found)
    yield Note("rule", f"{words.names(best)[0]}: {best.rules[0].summary}")
    yield Note("source", best.rules[0].source)
    yield from (Note(label, text) for label, text in words.notes(found))
    for match in found.matches[1:top]:
        if not match.fits:
            yield Note("next", f"{words.joined(words.names(match))}: {words.brief(match)}")


def _misfits(found: Identification) -> Iterator[Note]:
    """Say what the nearest rule does not fit; where it fits little, that is no clue."""
    best = found.nearest
    if found.rescaled is not None:
        yield Note("factor", words.rescaled(found.rescaled))
    elif best.fitting >= len(best.misses):
        for miss in best.misses:
            yield Note("misfit", words.sentence(found, best, miss), bad=True)
    else:
        yield Note("misfit", f"{words.names(best)[0]}: {words.brief(best)}", bad=True)
