"""A formula's text as tokens, and errors that point into it."""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from initscope.errors import UsageError

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>\*\*|[-+*/(),]))",
    re.ASCII,
)
_INSTEAD = {"^": "**", "·": "*", "×": "*", "÷": "/", "−": "-", "√": "sqrt(...)", "[": "(", "]": ")"}
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


class Token(NamedTuple):
    """A piece of a formula and where it begins; the last is the end."""

    kind: str  # number, name, sign, or end
    text: str
    place: int


def printable(text: str) -> str:
    """Return a text on one line, a column a character, so that an error can point into it."""
    return "".join(" " if c in "\t\r\n" else c if c.isprintable() else _UNPRINTABLE for c in text)


def scan(text: str) -> list[Token]:
    """Split a text that is printable into tokens.

    Raises:
        UsageError: pointing at a character that no formula has.
    """
    tokens, place, end = [], 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            _strange(text, len(text) - len(text[place:].lstrip()))
        kind = match.lastgroup or ""
        tokens.append(Token(kind, match[kind], match.start(kind)))
        place = match.end()
    return [*tokens, Token("end", "", end)]


def _strange(text: str, place: int) -> NoReturn:
    found = text[place]
    instead = f"; write {_INSTEAD[found]}" if found in _INSTEAD else ""
    fail(text, place, f"{found!r} does not belong in a formula{instead}")


def fail(text: str, place: int, trouble: object) -> NoReturn:
    """Raise the error that points at a character.

    Raises:
        UsageError: always.
    """
    raise UsageError(f"{trouble}\n  {text}\n  {' ' * place}^")
