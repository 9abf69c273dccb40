"""What was found in a user's model: its sites, its parameters, and what a rule would draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from initscope.glossary import SITES
from initscope.notation import number

_ORDER = {site: place for place, site in enumerate(SITES)}


class Tapped(Protocol):
    """Where a site's tensor passes."""

    site: str
    path: str
    side: str
    view: object


def sites_report(anatomy: object, drawn: object = None) -> RenderableType:
    """Show the sites of each kind of block, what surrounds them, and the parameters' labels.

    ``anatomy`` is a :class:`~initscope.anatomy.Anatomy`, ``drawn`` a rule's
    :class:`~initscope.redraw.Redrawn` or None.
    """
    parts = list(_kinds(anatomy.parts))  # type: ignore[attr-defined]
    found: list[RenderableType] = [Text(_summary(anatomy))]
    for layers, part in parts:
        found += [Text(f"\nblock {layers}, {part.path}: {_traits(part)}"), _taps(part.taps)]
    found += [Text("\nparameters"), _parameters(anatomy.parameters, drawn)]  # type: ignore[attr-defined]
    if drawn is not None and drawn.multipliers:  # type: ignore[attr-defined]
        found.append(Text("the rule also multiplies in the forward pass, which is left out here"))
    return Group(*found)


def _summary(anatomy: object) -> str:
    ends = [
        f"{name} {named[0]}" for name in ("wte", "wpe", "norm_f", "head")
        if (named := getattr(anatomy, name)) is not None
    ]  # fmt: skip
    n, width = anatomy.n_layer, anatomy.width  # type: ignore[attr-defined]
    tied = ", tied" if anatomy.tied else ""  # type: ignore[attr-defined]
    return f"{n} blocks of width {width}; {', '.join(ends)}{tied}"


def _kinds(parts: Sequence[object]) -> Iterator[tuple[str, object]]:
    """Yield each run of blocks that have the same sites, as ``0–11``, with its first."""
    start = 0
    for place in range(1, len(parts) + 1):
        if place == len(parts) or _sites(parts[place]) != _sites(parts[start]):
            end = place - 1
            yield (str(start) if start == end else f"{start}–{end}"), parts[start]
            start = place


def _sites(part: object) -> list[tuple[str, str]]:
    return [(tap.site, tap.path) for tap in part.taps]  # type: ignore[attr-defined]


def _traits(part: object) -> str:
    said = [f"{part.norm}-norm" if part.norm != "none" else "no norm"]  # type: ignore[attr-defined]
    said += ["parallel branches"] * part.parallel  # type: ignore[attr-defined]
    said += [part.activation] * bool(part.activation)  # type: ignore[attr-defined]
    said += [f"{part.n_head} heads"] * bool(part.n_head)  # type: ignore[attr-defined]
    said += ["no attention"] * (not part.softmax)  # type: ignore[attr-defined]
    said += [f"{site} × {number(x)}" for site, x in part.factors.items() if x != 1]  # type: ignore[attr-defined]
    return ", ".join(said)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _taps(taps: Iterable[Tapped]) -> Table:
    table = _table("site", "taken at", "meaning")
    for tap in sorted(taps, key=lambda tap: _ORDER.get(tap.site, 0)):
        side = "input of" if tap.side == "in" else "part of" if tap.view else "output of"
        table.add_row(tap.site, f"{side} {tap.path or 'the block'}", SITES.get(tap.site, ""))
    return table


def _parameters(parameters: Iterable[object], drawn: object) -> Table:
    names = {}
    for one in drawn.mapped if drawn is not None else []:  # type: ignore[attr-defined]
        names.setdefault(one.found.path, []).append(f"{one.label}: std {number(one.draw.std)}")
    table = _table("layer", "label", "parameter", *(["drawn"] if drawn is not None else []))
    for one in parameters:
        shape = tuple(one.parameter.shape)  # type: ignore[attr-defined]
        row = [str(one.layer), one.label, f"{one.path} {shape}"]  # type: ignore[attr-defined]
        if drawn is not None:
            row.append(", ".join(names.get(one.path, ["left as it is"])))  # type: ignore[attr-defined]
        table.add_row(*row)
    return table
