"""A rule on one model: a row for all parameters that it draws alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import RenderableType

from initscope import captions
from initscope.breakdown import Drawn, Factor, Part, Sampled, Sampler, factors, parts
from initscope.captions import Note
from initscope.config import GPTConfig
from initscope.notation import MISSING, count, number
from initscope.rules import Rule
from initscope.rules.parts import VECTORS
from initscope.table.sheet import Cell, Column, Page, Report, numeric


class _Row(NamedTuple):
    part: Part
    drawn: Drawn
    sampled: Sampled | None

    @property
    def name(self) -> str:
        """The parameters' names, and which layer's where layers differ."""
        layer = f" [{self.drawn.parameter.site.layer}]" if len(self.part.ends) > 1 else ""
        return part_name(self.part) + layer


def rule_report(
    config: GPTConfig, rule: Rule, sampler: Sampler, *, width: int | None = None
) -> RenderableType:
    """Show what a rule draws on a model.

    Args:
        config: the model.
        rule: the rule.
        sampler: what draws a parameter and measures it.
        width: characters to use; the console's unless given.
    """
    rows = [
        _Row(part, drawn, sampler(drawn.parameter, drawn.draw))
        for part in parts(config, rule)
        for drawn in part.ends
    ]
    return Report(lambda page: _report(page, config, rule, rows), width)


def part_name(part: Part) -> str:
    """Name a part: ``q, k, v``, ``norm gain``, ``bias``; ``mlp_down.bias`` if biases differ."""
    if part.role in VECTORS and part.whole:
        return part.role.replace("_", " ")
    most = 2 if part.role in VECTORS else 3  # the names of vectors are long
    return captions.listed(part.labels, most)


def distribution(drawn: Drawn) -> str:
    """Write a draw with its formula, or its number: ``N(0, 0.02/sqrt(2·n_layer))``."""
    draw, size = drawn.draw, _size(drawn)
    match draw.kind:
        case "normal":
            return f"N(0, {size})"
        case "truncated_normal":
            return f"N(0, {size}) in ±{draw.cut:g}σ"
        case "uniform":
            return f"U(±{size})"
        case "orthogonal":
            return f"orthogonal × {size}"
        case _:
            return f"{draw.scale:g}"


def _size(drawn: Drawn) -> str:
    if drawn.formula is None:
        return number(drawn.draw.scale)
    return spelt(drawn.formula)


def spelt(formula: str) -> str:
    """Write a formula for readers: ``0.02/sqrt(2·n_layer)``, ``(2·n_layer)^0.25``."""
    return formula.replace("**", "^").replace("*", "·")


def _report(
    page: Page, config: GPTConfig, rule: Rule, rows: Sequence[_Row]
) -> Iterator[RenderableType]:
    yield page.text(rule.name, "bold")
    yield page.notes([Note("draws", rule.summary), Note("source", rule.source)])
    yield ""
    yield page.facts(captions.architecture(config))
    yield ""
    columns = list(_columns(rows))
    yield page.table(columns)
    yield ""
    effects = [] if columns[-1] in page.fitting(columns) else list(_effects(rows))
    yield page.notes([
        *map(_factor_note, factors(config, rule)), *effects, *_remarks(config, rows),
        *page.omissions(columns),
    ])  # fmt: skip


def _columns(rows: Sequence[_Row]) -> Iterator[Column]:
    yield Column(("parameter",), [Cell(row.name) for row in rows], left=True)
    yield Column(("tensors",), [Cell(_tensors(row.part)) for row in rows], rank=4)
    yield Column(("shape",), [Cell(_shape(row.part)) for row in rows], rank=2)
    cells = [Cell(distribution(row.drawn)) for row in rows]
    yield Column(("distribution",), cells, left=True)
    yield Column(("std",), numeric(row.drawn.draw.std for row in rows))
    drawn = [row.sampled for row in rows]
    yield Column(("drawn",), numeric(None if one is None else one.std for one in drawn), rank=1)
    yield Column(("±",), [Cell(_error(one)) for one in drawn], rank=3)
    if any(row.drawn.factor != 1 for row in rows):
        factors_ = (row.drawn.factor for row in rows)
        yield Column(("output", "times"), numeric(None if x == 1 else x for x in factors_), rank=3)
    effects = [Cell(row.part.effect) for row in rows]
    yield Column(("stream",), effects, rank=5, left=True)


def _tensors(part: Part) -> str:
    if part.present:
        return str(part.tensors)
    return "tied" if part.role == "head" else "none"


def _shape(part: Part) -> str:
    return ", ".join("×".join(map(str, shape)) for shape in part.shapes)


def _error(sampled: Sampled | None) -> str:
    if sampled is None:
        return MISSING
    return f"{sampled.error / sampled.std:.2%}" if sampled.std else "0"


_MULTIPLIED = {
    "embed": "the embeddings' output",
    "attention": "attention logits, on top of 1/sqrt(head_size)",
    "logits": "the head's output",
    "skip_attn": "the stream to which attention is added",
    "branch_attn": "what attention adds to the stream",
    "skip_mlp": "the stream to which the MLP is added",
    "branch_mlp": "what the MLP adds to the stream",
}


def _factor_note(factor: Factor) -> Note:
    first, last = map(number, factor.values)
    text = first if first == last else f"{first} in the first layer to {last} in the last"
    if factor.formula not in {None, text}:
        text = f"{spelt(factor.formula or '')} = {text}"
    return Note(f"× {factor.name}", f"{text}: {_MULTIPLIED[factor.name]}")


def _effects(rows: Sequence[_Row]) -> Iterator[Note]:
    """Say what each row does to the stream, where there is no room for the column."""
    for number_, effect in enumerate(dict.fromkeys(row.part.effect for row in rows)):
        names = dict.fromkeys(part_name(row.part) for row in rows if row.part.effect == effect)
        yield Note("" if number_ else "stream", f"{', '.join(names)}: {effect}")


def _remarks(config: GPTConfig, rows: Sequence[_Row]) -> Iterator[Note]:
    if config.tied:
        yield Note("head", "tied: it is the token embedding, drawn once")
    lacking = [part_name(row.part) for row in rows if not row.part.present]
    names = [name for name in dict.fromkeys(lacking) if name != "head"]
    if names:
        text = f"the model has no {' and no '.join(names)}; the table has what they would get"
        yield Note("none", text)
    if any(len(row.part.ends) > 1 for row in rows):
        yield Note("[layer]", "the rule goes by it: the first and the last are shown")
    yield Note("names", "nanoGPT's c_proj are attn_out and mlp_down, c_attn q, k, v, c_fc mlp_up")
    most = max((row.sampled.entries for row in rows if row.sampled), default=0)
    yield Note("drawn", f"std of a real draw, seed 0: the first tensor of each, of which at most "
               f"{count(most)} entries; ± its standard error")  # fmt: skip
