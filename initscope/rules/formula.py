"""Formulas as text: numbers, + - * / **, a few functions, and the names of a parameter's site.

Nothing of Python is evaluated. All arithmetic is that of floats, so that no formula costs more
than its length: ``9**9**9`` overflows at once.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from initscope.errors import UsageError, unknown
from initscope.rules.core import Site
from initscope.rules.scanner import Token, fail, printable, scan

LONGEST = 300  # characters
DEEPEST = 40  # brackets, signs and powers inside each other

SITE_NAMES = (
    "n_layer", "n_embd", "n_head", "d_ff", "vocab_size", "layer", "fan_in", "fan_out",
)  # fmt: skip
NAMES = (*SITE_NAMES, "head_size", "pi")


def names_of(site: Site) -> dict[str, float]:
    """Return what a formula may refer to, at one parameter's place."""
    sizes = {name: float(getattr(site, name)) for name in SITE_NAMES}
    return {**sizes, "head_size": float(site.n_embd // site.n_head), "pi": math.pi}


class _Function(NamedTuple):
    """A function, and the fewest and most arguments it takes."""

    call: Callable[..., float]
    fewest: int
    most: float


_FUNCTIONS = {
    "sqrt": _Function(math.sqrt, 1, 1),
    "log": _Function(math.log, 1, 1),
    "min": _Function(min, 2, math.inf),
    "max": _Function(max, 2, math.inf),
}
_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "**": operator.pow,
}  # fmt: skip
_TROUBLE = {
    "/": "divides by zero",
    "**": "0 has no negative power, and a negative number no fractional one",
    "sqrt": "sqrt takes no negative number",
    "log": "log takes a number above 0",
}

_Node = Callable[[Mapping[str, float]], float]


@dataclass(frozen=True)
class Formula:
    """A formula that has been read: every name in it exists.

    >>> Formula.read("0.02 / sqrt(2*n_layer)").value({"n_layer": 8})
    0.005
    """

    text: str
    value: _Node

    @classmethod
    def read(cls, text: str) -> Formula:
        """Read a formula.

        Raises:
            UsageError: pointing at the character that cannot be right.
        """
        parser = _Parser(text)
        return cls(parser.text.strip(), parser.whole())

    def at(self, site: Site) -> float:
        """Return the formula's number at one parameter's place, always finite.

        Raises:
            UsageError: pointing at the operation that has no real, finite result there.
        """
        return self.value(names_of(site))


class _Parser:
    """Reads by recursive descent, with Python's precedence: ``-2**2`` is -4, ``2**-1`` a half."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise UsageError(f"a formula has at most {LONGEST} characters, not {len(text)}")
        self.text = printable(text)
        self.tokens = scan(self.text)
        self.next = 0
        self.depth = 0

    def whole(self) -> _Node:
        """Read all of it."""
        node = self._sum()
        if self._token.kind != "end":
            fail(self.text, self._token.place, "an operator is missing here, or a bracket before")
        return node

    @property
    def _token(self) -> Token:
        return self.tokens[self.next]

    def _take(self, *signs: str) -> Token | None:
        """Step past the next token if it is one of these signs."""
        token = self._token
        if token.kind != "sign" or token.text not in signs:
            return None
        self.next += 1
        return token

    def _sum(self) -> _Node:
        node = self._product()
        while sign := self._take("+", "-"):
            node = self._operation(sign, node, self._product())
        return node

    def _product(self) -> _Node:
        node = self._signed()
        while sign := self._take("*", "/"):
            node = self._operation(sign, node, self._signed())
        return node

    def _signed(self) -> _Node:
        self.depth += 1
        if self.depth > DEEPEST:
            fail(self.text, self._token.place, f"nested more than {DEEPEST} deep")
        if self._take("-"):
            inner = self._signed()
            node: _Node = lambda names: -inner(names)  # noqa: E731 - a node like the others
        else:
            node = self._power()
        self.depth -= 1
        return node

    def _power(self) -> _Node:
        base = self._atom()
        sign = self._take("**")
        return self._operation(sign, base, self._signed()) if sign else base

    def _atom(self) -> _Node:
        token = self._token
        if self._take("("):
            node = self._sum()
            self._close(token)
            return node
        if token.kind not in {"number", "name"}:
            fail(self.text, token.place, "a number, a name or a bracket is missing here")
        self.next += 1
        return self._number(token) if token.kind == "number" else self._named(token)

    def _close(self, opened: Token) -> None:
        if self._take(")") is None:
            fail(self.text, opened.place, "this bracket is not closed where it should be")

    def _number(self, token: Token) -> _Node:
        value = float(token.text)
        if not math.isfinite(value):
            fail(self.text, token.place, "this number is too large")
        return lambda _names: value

    def _named(self, token: Token) -> _Node:
        bracket, name = self._take("("), token.text
        if bracket:
            return self._call(token, bracket)
        if name in _FUNCTIONS:
            fail(self.text, token.place, f"{name} is a function: write {name}(...)")
        if name not in NAMES:
            fail(self.text, token.place, unknown("name", name, [*NAMES, *_FUNCTIONS]))
        return operator.itemgetter(name)

    def _call(self, token: Token, bracket: Token) -> _Node:
        if token.text not in _FUNCTIONS:
            fail(self.text, token.place, unknown("function", token.text, _FUNCTIONS))
        function, arguments = _FUNCTIONS[token.text], [self._sum()]
        while self._take(","):
            arguments.append(self._sum())
        self._close(bracket)
        if not function.fewest <= len(arguments) <= function.most:
            wanted = "1 value" if function.most == 1 else f"{function.fewest} values or more"
            fail(self.text, token.place, f"{token.text} takes {wanted}, not {len(arguments)}")
        return self._checked(token, function.call, *arguments)

    def _operation(self, sign: Token, left: _Node, right: _Node) -> _Node:
        return self._checked(sign, _OPERATORS[sign.text], left, right)

    def _checked(self, token: Token, call: Callable[..., float], *arguments: _Node) -> _Node:
        """Return the node of an operation that fails in words where it has no result."""

        def node(names: Mapping[str, float]) -> float:
            values = [argument(names) for argument in arguments]
            try:
                result = call(*values)
            except OverflowError:
                result = math.inf
            except (ZeroDivisionError, ValueError):
                result = math.nan
            if isinstance(result, complex) or math.isnan(result):
                fail(self.text, token.place, _TROUBLE[token.text])
            if math.isinf(result):
                fail(self.text, token.place, "the result is too large for a number")
            return result

        return node
