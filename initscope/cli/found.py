"""What was found in a user's model: its sites, its parameters, and what a rule would draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from initscope.glossary import SITES
from initscope.notation import number

if TYPE_CHECKING:
    from initscope.anatomy import Anatomy, Labelled, Part, Tap
    from initscope.redraw import Redrawn

_ORDER = {site: place for place, site in enumerate(SITES)}


def sites_report(anatomy: Anatomy, drawn: Redrawn | None = None) -> RenderableType:
    """Show the sites of each kind of block, what surrounds them, and the parameters' labels.

    ``drawn`` is what a rule drew in it, if one did.
    """
    parts = list(_kinds(anatomy.parts))
    found: list[RenderableType] = [Text(_summary(anatomy))]
    for layers, part in parts:
        found += [Text(f"\nblock {layers}, {part.path}: {_traits(part)}"), _taps(part.taps)]
    found += [Text("\nparameters"), _parameters(anatomy.parameters, drawn)]
    if drawn is not None and drawn.multipliers:
        found.append(Text("the rule also multiplies in the forward pass, which is left out here"))
    return Group(*found)


def _summary(anatomy: Anatomy) -> str:
    ends = [
        f"{name} {named[0]}" for name in ("wte", "wpe", "norm_f", "head")
        if (named := getattr(anatomy, name)) is not None
    ]  # fmt: skip
    n, width = anatomy.n_layer, anatomy.width
    tied = ", tied" if anatomy.tied else ""
    return f"{n} blocks of width {width}; {', '.join(ends)}{tied}"


def _kinds(parts: Sequence[Part]) -> Iterator[tuple[str, Part]]:
    """Yield each run of blocks that have the same sites, as ``0–11``, with its first."""
    start = 0
    for place in range(1, len(parts) + 1):
        if place == len(parts) or _sites(parts[place]) != _sites(parts[start]):
            end = place - 1
            yield (str(start) if start == end else f"{start}–{end}"), parts[start]
            start = place


def _sites(part: Part) -> list[tuple[str, str]]:
    return [(tap.site, tap.path) for tap in part.taps]


def _traits(part: Part) -> str:
    said = [f"{part.norm}-norm" if part.norm != "none" else "no norm"]
    said += ["parallel branches"] * part.parallel
    said += [part.activation] * bool(part.activation)
    said += [f"{part.n_head} heads"] * bool(part.n_head)
    said += ["no attention"] * (not part.softmax)
    said += [f"{site} × {number(x)}" for site, x in part.factors.items() if x != 1]
    return ", ".join(said)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _taps(taps: Iterable[Tap]) -> Table:
    table = _table("site", "taken at", "meaning")
    for tap in sorted(taps, key=lambda tap: _ORDER.get(tap.site, 0)):
        side = "input of" if tap.side == "in" else "part of" if tap.view else "output of"
        table.add_row(tap.site, f"{side} {tap.path or 'the block'}", SITES.get(tap.site, ""))
    return table


def _parameters(parameters: Iterable[Labelled], drawn: Redrawn | None) -> Table:
    names: dict[str, list[str]] = {}
    for item in drawn.mapped if drawn is not None else []:
        names.setdefault(item.found.path, []).append(f"{item.label}: std {number(item.draw.std)}")
    table = _table("layer", "label", "parameter", *(["drawn"] if drawn is not None else []))
    for one in parameters:
        shape = tuple(one.parameter.shape)
        row = [str(one.layer), one.label, f"{one.path} {shape}"]
        if drawn is not None:
            row.append(", ".join(names.get(one.path, ["left as it is"])))
        table.add_row(*row)
    return table
