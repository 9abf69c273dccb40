"""An audit as a table: a row for the tensors of one kind, and what is wrong below."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from initscope import captions
from initscope.notation import MISSING
from initscope.origin import words
from initscope.provenance import Audit, Fault, Held, Write
from initscope.provenance.faults import faults, notes
from initscope.provenance.scaling import depth_exponent
from initscope.rules.core import RESIDUAL
from initscope.table.sheet import BAD, Cell, Column, Page, Report

FAULTY = "✕"


def audit_report(audit: Audit, *, width: int | None = None) -> RenderableType:
    """Show what wrote each kind of tensor, how often and last, and name what is wrong.

    Args:
        audit: what was found.
        width: characters to use; the console's unless given.
    """
    return Report(lambda page: _report(page, audit), width)


def _report(page: Page, audit: Audit) -> Iterator[RenderableType]:
    wrong = faults(audit)
    yield page.text(_headline(audit, wrong), BAD if wrong else "bold")
    yield page.facts(_facts(audit))
    yield ""
    columns = list(_columns(audit, wrong))
    yield page.table(columns)
    yield ""
    said = [captions.Note(fault.code, fault.text, bad=True) for fault in wrong]
    said += [captions.Note(note.label, note.text) for note in notes(audit)]
    yield page.notes([*said, *page.omissions(columns)])


def _headline(audit: Audit, wrong: Sequence[Fault]) -> str:
    if not wrong:
        return f"{audit.target}: no fault found"
    return f"{audit.target}: {len(wrong)} {'fault' if len(wrong) == 1 else 'faults'}"


def _facts(audit: Audit) -> list[str]:
    buffers = sum(one.buffer for one in audit.held)
    facts = [
        f"{audit.n_layer} layers", f"width {audit.width}",
        f"{len(audit.held) - buffers} parameters", f"{buffers} buffers",
    ]  # fmt: skip
    if audit.shallower is not None:
        facts.append(f"built with {audit.shallower.size} layers too")
    if audit.narrower is not None:
        facts.append(f"built at width {audit.narrower.size} too")
    return facts


def _columns(audit: Audit, wrong: Sequence[Fault]) -> Iterator[Column]:
    rows = _rows(audit)
    faulty = {path for fault in wrong for path in fault.paths}
    marks = [any(one.path in faulty for one in row) for row in rows]
    names = [
        Cell(f"{FAULTY if mark else ' '} {_name(row[0])}", BAD if mark else "")
        for row, mark in zip(rows, marks, strict=True)
    ]
    yield Column(("  tensor",), names, left=True)
    yield Column(("number",), [Cell(str(len(row))) for row in rows], rank=7)
    yield Column(("std",), [Cell(_std(row)) for row in rows], rank=1)
    exponents = [Cell(_exponent(audit, row[0])) for row in rows]
    yield Column(("depth",), exponents, "exponent", rank=2)
    yield Column(("to the", "stream"), [Cell(_writer(row[0])) for row in rows], rank=6)
    yield Column(("writes",), [Cell(_times(row)) for row in rows])
    yield Column(("last by",), [Cell(_by(row[0])) for row in rows], left=True)
    yield Column(("how",), [Cell(_how(row[0])) for row in rows], rank=5, left=True)
    yield Column(("where",), [Cell(_where(row[0])) for row in rows], rank=3, left=True)
    yield Column(("path",), [Cell(_starred(row[0].path)) for row in rows], rank=4, left=True)


def _rows(audit: Audit) -> list[list[Held]]:
    """Put together what has one name, and the same last writer."""
    rows: dict[tuple[str, ...], list[Held]] = {}
    for one in audit.held:
        alike = (_name(one), _by(one), _how(one), _where(one), _times([one]))
        rows.setdefault(alike, []).append(one)
    return list(rows.values())


def _name(one: Held) -> str:
    """Name a tensor as profiles do; by its path, whatever the layer, where it has no label."""
    return _starred(one.label)


def _starred(path: str) -> str:
    return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", path)


def _times(row: Sequence[Held]) -> str:
    return MISSING if row[0].writes is None else str(len(row[0].writes))


def _std(row: Sequence[Held]) -> str:
    samples = [one.sample for one in row if one.sample is not None]
    if not samples or any(one.written < 1 for one in row):
        return MISSING
    if all(sample.constant for sample in samples):
        values = {sample.mean for sample in samples}
        return f"all {values.pop():.3g}" if len(values) == 1 else "constants"
    return words.spread([sample.std for sample in samples])


def _exponent(audit: Audit, one: Held) -> str:
    inside = one.matrix and 0 <= one.layer < audit.n_layer
    found = depth_exponent(audit, one.label) if inside else None
    return MISSING if found is None else f"{round(found.value, 2) + 0.0:.2f}"


def _writer(one: Held) -> str:
    return "writes" if one.label in RESIDUAL else ""


def _by(one: Held) -> str:
    if one.writes is None:
        return "not seen: it came from outside PyTorch"
    if one.last is None:
        return "nothing"
    return f"PyTorch's {_module(one.last)}" if one.last.default else one.last.by


def _module(write: Write) -> str:
    return write.default.partition(".")[0]


def _how(one: Held) -> str:
    return one.last.how if one.last is not None else ""


def _where(one: Held) -> str:
    return one.last.where if one.last is not None else ""
