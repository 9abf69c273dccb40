"""Rules of one's own from a base and a few formulas: ``nanogpt:residual_std=0.02/sqrt(n_layer)``.

A key names a role, a group of roles or a factor and, but for factors, what is said of the draw.
Where several keys name a parameter, the one that names the fewest counts, whatever the order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from initscope.config import GPTConfig
from initscope.errors import UsageError, unknown
from initscope.rules.changes import SIZES, Change, Term, change
from initscope.rules.core import Draw, DrawKind, Multipliers, Rule, Site
from initscope.rules.formula import Formula
from initscope.rules.parts import DRAWN, FACTORS, GROUPS, spread

QUANTITIES = (*SIZES, "cut", "kind")
# A rule may bring an architecture, but no size: that is the model's.
SIZED = {"n_layer", "n_embd", "n_head", "d_ff", "vocab_size", "block_size"}
FIELDS = tuple(f.name for f in dataclasses.fields(GPTConfig) if f.name not in SIZED)
_FLAGS = {"true": True, "yes": True, "false": False, "no": False}


def amended(
    base: Rule, name: str, said: Mapping[str, Any], *, summary: str = "", source: str = ""
) -> Rule:
    """Return a rule that is the base but for what is said.

    Args:
        base: what holds where nothing is said.
        name: of the rule that is made.
        said: by key, a formula as text, a number, or an architecture's value; quantities may be
            in tables of their own, as TOML has them.
        summary: one line; what was said, unless given.
        source: where it is from; the base and its source, unless given.

    Raises:
        UsageError: for a key that does not exist, or a value that cannot be right.
    """
    flat, sorted_ = dict(_flat(said)), _Said()
    for key, value in flat.items():
        sorted_.add(key, value)
    changes, factors = sorted_.changes(), spread(sorted_.factors)
    return Rule(
        name=name,
        summary=summary or f"{base.name} with {_words(flat) or 'no change'}",
        source=source or f"made from {base.name}: {base.source}",
        draw=lambda site: _changed(base, changes, site),
        architecture={**base.architecture, **sorted_.architecture},
        multipliers=lambda site: _multiplied(base, factors, site),
        formulas={**spread(base.formulas), **_texts(changes, factors)},
    )


def _changed(base: Rule, changes: Mapping[str, Change], site: Site) -> Draw:
    draw, changed = base.draw(site), changes.get(site.role)
    return changed.apply(draw, site) if changed else draw


def _multiplied(base: Rule, factors: Mapping[str, Term], site: Site) -> Multipliers:
    new = {name: term.at(site) for name, term in factors.items()}
    return dataclasses.replace(base.multipliers(site), **new)


def _texts(changes: Mapping[str, Change], factors: Mapping[str, Term]) -> dict[str, str]:
    sizes = {role: changed.size for role, changed in changes.items() if changed.size}
    return {part: term.formula.text for part, term in {**sizes, **factors}.items()}


def _words(said: Mapping[str, Any]) -> str:
    values = {key: str(v).lower() if isinstance(v, bool) else v for key, v in said.items()}
    return ", ".join(f"{key} = {value}" for key, value in values.items())


# --- what is said ---


def assignments(text: str) -> dict[str, str]:
    """Split ``attn_out.std=min(1, 2), tied=no`` at the commas outside brackets.

    Raises:
        UsageError: for what is no assignment, or a key given twice.
    """
    found: dict[str, str] = {}
    for part in _split(text):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if not (key and value):
            raise UsageError(f"{part.strip()!r} is no assignment; write KEY=FORMULA, as std=0.02")
        if key in found:
            raise UsageError(f"{key} is given twice")
        found[key] = value
    return found


def _split(text: str) -> Iterator[str]:
    depth, start = 0, 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth <= 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _flat(said: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in said.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{quantity}", inner) for quantity, inner in value.items())
        else:
            yield key, value


@dataclass
class _Said:
    """What was said, sorted by what it is about, each by the role or group that it names."""

    sizes: dict[str, tuple[str, Term]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, Term] = field(default_factory=dict)
    factors: dict[str, Term] = field(default_factory=dict)
    architecture: dict[str, Any] = field(default_factory=dict)

    def add(self, key: str, value: Any) -> None:  # noqa: ANN401 - text, or what TOML holds
        """Sort one assignment in."""
        if key in FACTORS:
            self.factors[key] = _term(key, value)
        elif key in FIELDS:
            self.architecture[key] = _field(key, value)
        else:
            self._add_drawn(key, value)

    def _add_drawn(self, key: str, value: Any) -> None:  # noqa: ANN401 - as above
        part, quantity = _parsed(key)
        others: dict[str, dict[str, Any]] = {"cut": self.cuts, "kind": self.kinds}
        table = others.get(quantity, self.sizes)
        if part in table:
            what = "size" if quantity in SIZES else quantity
            raise UsageError(f"{key}: {part} has a {what} already; give it one")
        if quantity == "kind":
            table[part] = _kind(key, value)
        else:
            term = _term(key, value)
            table[part] = (quantity, term) if quantity in SIZES else term

    def changes(self) -> dict[str, Change]:
        """Return what is changed of each role."""
        sizes, kinds, cuts = spread(self.sizes), spread(self.kinds), spread(self.cuts)
        return {
            role: change(role, sizes.get(role), kinds.get(role), cuts.get(role))
            for role in {**sizes, **kinds, **cuts}
        }


def _parsed(key: str) -> tuple[str, str]:
    """Split a key into role or group and quantity: ``residual.std``, ``residual_std``, ``std``."""
    if key in QUANTITIES:
        return "matrices", key
    part, dot, quantity = key.rpartition(".") if "." in key else key.rpartition("_")
    if part not in DRAWN and dot == ".":
        raise unknown("role or group", part, DRAWN)
    if part not in DRAWN:
        raise _unknown_key(key)
    if quantity not in QUANTITIES:
        raise unknown("quantity", quantity, QUANTITIES)
    return part, quantity


def _unknown_key(key: str) -> UsageError:
    shorthands = (f"{group}_{quantity}" for group in GROUPS for quantity in QUANTITIES)
    error = unknown("key", key, [*QUANTITIES, *FACTORS, *FIELDS, *shorthands])
    if "did you mean" in str(error):
        return error
    quantities = ", ".join(QUANTITIES)
    return UsageError(f"unknown key {key!r}: write {', '.join(DRAWN)} with .{quantities}")


def _term(key: str, value: object) -> Term:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{key} must be a formula in quotes or a number, not {value!r}")
    try:
        return Term(key, Formula.read(str(value)))
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from error


def _kind(key: str, value: object) -> str:
    if value not in get_args(DrawKind):
        raise UsageError(f"{key}: {unknown('distribution', str(value), get_args(DrawKind))}")
    return str(value)


def _field(key: str, value: Any) -> Any:  # noqa: ANN401 - a field of any type
    """Read an architecture's value: text from a command line, or what TOML holds."""
    default = getattr(GPTConfig(n_layer=1), key)
    if isinstance(default, str):
        return getattr(GPTConfig(n_layer=1, **{key: value}), key)  # which names the nearest
    if isinstance(default, bool):
        read = value if isinstance(value, bool) else _FLAGS.get(str(value).lower())
        return _right(key, read, value, "yes or no")
    wanted = "a whole number above 0" if isinstance(default, int) else "a number above 0"
    try:
        number = type(default)(str(value))
    except ValueError:
        number = 0
    return _right(key, number if 0 < number < float("inf") else None, value, wanted)


def _right(key: str, read: Any, value: object, wanted: str) -> Any:  # noqa: ANN401 - as above
    if read is None:
        raise UsageError(f"{key} must be {wanted}, not {value!r}")
    return read
