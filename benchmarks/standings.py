"""From the rounds of a cell to a table: medians, and ratios within each round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from benchmarks.case import Cell
from benchmarks.child import OK, Outcome
from benchmarks.found import KINDS

GIB = 2**30

Round = Mapping[str, Outcome]
Quantity = Callable[[Mapping[str, Any]], float | None]


def seconds(found: Mapping[str, Any]) -> float | None:
    """Return what a user waits for: drawing the weights and measuring."""
    return found["seconds"]


def passes(found: Mapping[str, Any]) -> float | None:
    """Return the seconds of the passes alone, where the weights were drawn before."""
    return None if found["built"] is None else found["seconds"] - found["built"]


def memory(found: Mapping[str, Any]) -> float | None:
    """Return the peak, the libraries included."""
    return found["bytes"]


def median(rounds: Sequence[Round], name: str, quantity: Quantity) -> float | None:
    """Return the median over the rounds that a contestant finished."""
    values = [quantity(one[name].found) for one in rounds if one[name].status == OK]
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(rounds: Sequence[Round], name: str, base: str, quantity: Quantity) -> float | None:
    """Return the median ratio to another contestant, each within its round."""
    pairs = [
        (quantity(one[name].found), quantity(one[base].found))
        for one in rounds if base in one and one[name].status == one[base].status == OK
    ]  # fmt: skip
    known = [a / b for a, b in pairs if a is not None and b]
    return statistics.median(known) if known else None


def summary(rounds: Sequence[Round]) -> dict[str, dict[str, Any]]:
    """Reduce the rounds of a cell to what the table and the JSON show of each contestant."""
    return {name: _one(rounds, name) for name in rounds[0]}


def _one(rounds: Sequence[Round], name: str) -> dict[str, Any]:
    outcomes = [one[name] for one in rounds]
    bad = next((one for one in outcomes if one.status != OK), None)
    cells: dict[str, Any] = {"status": OK} if bad is None else {
        "status": bad.status, "detail": bad.detail, "bytes": bad.found.get("bytes"),
    }  # fmt: skip
    if bad is None:
        cells |= {key: outcomes[0].found[key] for key in ("readings", "records", "threads")}
        for key, quantity in (("seconds", seconds), ("passes", passes), ("bytes", memory)):
            cells[key] = median(rounds, name, quantity)
            cells[f"{key}/bare"] = ratio(rounds, name, "bare", quantity)
            cells[f"{key}/hooks"] = ratio(rounds, name, "hooks", quantity)
        cells["seconds/unmeasured"] = ratio(rounds, name, "unmeasured", seconds)
        cells["runs"] = [one.found["seconds"] for one in outcomes]
    return cells


def table(cell: Cell, cells: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> Table:
    """Set the contestants side by side."""
    shown = Table(title=f"{cell.n_layer} layers x {cell.n_embd}, {cell.tokens} tokens")
    for head in ("contestant", "seconds", "÷ bare", "÷ hooks", "passes", "÷ bare", "peak GiB",
                 "÷ bare", "÷ hooks", "readings", "records"):  # fmt: skip
        shown.add_column(head, justify="left" if head in {"contestant", "records"} else "right")
    for name, one in cells.items():
        shown.add_row(titles.get(name, name), *_columns(one))
    return shown


def _columns(one: Mapping[str, Any]) -> list[str]:
    if one["status"] != OK:
        return [f"{one['status']}", *[""] * 8, one["detail"]]
    gib = None if one["bytes"] is None else one["bytes"] / GIB
    numbers = (one["seconds"], one["seconds/bare"], one["seconds/hooks"], one["passes"],
               one["passes/bare"], gib, one["bytes/bare"], one["bytes/hooks"])  # fmt: skip
    return [*(_number(x) for x in numbers), str(one["readings"]), letters(one["records"])]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value >= 100 else f"{value:.2f}"


def letters(records: Sequence[str]) -> str:
    """Abbreviate what was recorded: ``a r g w W v``, a dash for what was not."""
    return " ".join(
        letter if kind in records else "–" for kind, letter in zip(KINDS, "argwWv", strict=True)
    )


LEGEND = (
    "records: a activations, r the residual stream, g gradients, w weights, W weight gradients, "
    "v a verdict.  passes: without drawing the weights.  ratios: medians of those within a round."
)
