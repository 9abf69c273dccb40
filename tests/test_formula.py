"""Formulas: the value is Python's own, whatever else is one sentence that points at it."""

from __future__ import annotations

import ast
import math
import operator
import random
import re
import string
from collections.abc import Callable, Iterator

import pytest

from initscope.errors import UsageError
from initscope.rules import Site
from initscope.rules.formula import DEEPEST, LONGEST, NAMES, Formula, names_of

SITE = Site(
    role="attn_out", fan_in=96, fan_out=32, layer=3, n_layer=12, n_embd=96, n_head=4, d_ff=384,
    vocab_size=1000,
)  # fmt: skip
VALUES = names_of(SITE)


def value(text: str) -> float:
    return Formula.read(text).at(SITE)


def complaint(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        value(text)
    return str(caught.value)


# --- Python's parser and operators, walked in float64: what the formula is to equal ---

OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., float]] = {
    "sqrt": math.sqrt, "log": math.log, "min": min, "max": max,
}  # fmt: skip


class NoNumberError(Exception):
    """Python gives no finite real number."""


def reference(text: str) -> float:
    try:
        return walk(ast.parse(text, mode="eval").body)
    except (ZeroDivisionError, OverflowError, ValueError) as error:
        raise NoNumberError from error


def walk(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return VALUES[name]
        case ast.UnaryOp(op=op, operand=inner):
            result = OPERATORS[type(op)](walk(inner))
        case ast.BinOp(left=left, op=op, right=right):
            result = OPERATORS[type(op)](walk(left), walk(right))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            result = FUNCTIONS[name](*map(walk, arguments))
        case _:
            raise AssertionError(ast.dump(node))
    if isinstance(result, complex) or not math.isfinite(result):
        raise NoNumberError
    return result


def as_python(text: str) -> str:
    """Put on one line, and write integers as Python wants them: 7 for 07."""
    return re.sub(r"(?<![\w.])0+(?=\d)", "", " ".join(text.split()))


def expression(rng: random.Random, depth: int) -> str:
    """Write a random formula of the grammar, with or without blanks and brackets."""
    blank = rng.choice(["", "", " "])
    if depth == 0 or rng.random() < 0.2:
        number = rng.choice(["0", "1", "2", "0.02", "3.5e-3", ".5", "7.", "1e300", "12"])
        return rng.choice([number, rng.choice(NAMES)])
    parts = [expression(rng, depth - 1) for _ in range(3)]
    forms = [
        f"({parts[0]})", f"-{parts[0]}", f"sqrt({parts[0]})", f"log({blank}{parts[0]})",
        f"min({parts[0]},{blank}{parts[1]})", f"max({', '.join(parts)})",
        *(f"{parts[0]}{blank}{sign}{blank}{parts[1]}" for sign in ("+", "-", "*", "/", "**")),
    ]  # fmt: skip
    return rng.choice(forms)


@pytest.mark.parametrize("seed", range(4))
def test_the_value_is_that_of_python(seed: int) -> None:
    rng, numbers = random.Random(seed), 0  # noqa: S311 - repeatable, not secret
    for _ in range(2000):
        text = expression(rng, rng.randint(1, 4))
        if len(text) > LONGEST:
            continue
        try:
            expected = reference(text)
        except NoNumberError:
            assert "^" in complaint(text), text
        else:
            assert value(text) == expected, text
            numbers += 1
    assert numbers > 1000


def garbage(rng: random.Random) -> Iterator[str]:
    pieces = [
        *NAMES, *FUNCTIONS, *"+-*/(),.", "**", "//", "(", ")", " ", "1", "2.5", "3e2", "9**9",
        "import", "__", "lambda", "\t", "\n", "\0", "é", "n_laye", "1e999", "[", "^", "=", "'", "@",
    ]  # fmt: skip
    while True:
        many = rng.randint(0, 12)
        yield "".join(rng.choice(pieces) for _ in range(many))
        yield "".join(rng.choice(string.printable) for _ in range(many))
        broken = list(expression(rng, 2))
        broken[rng.randrange(len(broken))] = rng.choice(pieces)
        yield "".join(broken)


@pytest.mark.parametrize("seed", range(4))
def test_anything_is_a_number_or_one_error(seed: int) -> None:
    rng, accepted = random.Random(seed), 0  # noqa: S311 - repeatable, not secret
    texts = garbage(rng)
    for _ in range(3000):
        text = next(texts)
        try:
            found = value(text)
        except UsageError as error:
            message, *pointer = str(error).splitlines()
            assert message
            assert not pointer or set(pointer[-1].strip()) == {"^"}
        else:
            assert math.isfinite(found)
            assert found == reference(as_python(text)), text
            accepted += 1
    assert accepted > 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.02 / sqrt(2*n_layer)", 0.02 / math.sqrt(24)), ("-2**2", -4), ("2**-1", 0.5),
        ("2**3**2", 512), ("8-2-1", 5), ("8/2/2", 2), ("head_size", 24), ("2*pi", 2 * math.pi),
        ("min(1, fan_out/fan_in)", 1 / 3), ("layer\n+ 1", 4), ("--1", 1), ("max(1,2,3)", 3),
    ],
)  # fmt: skip
def test_values(text: str, expected: float) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("0.02 / sqrt(n_embed)", "unknown name 'n_embed': did you mean 'n_embd'?", 12),
        ("sqr(2)", "unknown function 'sqr': did you mean 'sqrt'?", 0),
        ("1 + sqrt", "sqrt is a function", 4),
        ("2 n_layer", "an operator is missing here", 2),
        ("1/(2*n_layer", "this bracket is not closed", 2),
        ("1 + ", "a number, a name or a bracket is missing", 3),
        ("", "a number, a name or a bracket is missing", 0),
        ("2^3", "'^' does not belong in a formula; write **", 1),
        ("0.02·n_layer", "'·' does not belong in a formula; write *", 4),
        ("1 // 2", "a number, a name or a bracket is missing", 3),
        ("n_layer.real", "'.' does not belong", 7),
        ("(1).__class__", "'.' does not belong", 3),
        ("sqrt(1, 2)", "sqrt takes 1 value, not 2", 0),
        ("min(1)", "min takes 2 values or more, not 1", 0),
        ("1e999", "this number is too large", 0),
        ("1 / (layer - 3)", "divides by zero", 2),
        ("sqrt(layer - n_layer)", "sqrt takes no negative number", 0),
        ("log(0*pi)", "log takes a number above 0", 0),
        ("(0 - 8)**0.5", "a negative number no fractional one", 7),
        ("0**-1", "0 has no negative power", 1),
        ("1e300 * 1e300", "the result is too large", 6),
    ],
)  # fmt: skip
def test_an_error_points_at_the_character(text: str, message: str, place: int) -> None:
    said, shown, pointer = complaint(text).splitlines()
    assert message in said
    assert shown == f"  {text}"
    assert pointer == " " * (place + 2) + "^"


@pytest.mark.parametrize(
    "text", ["9**9**9", "9**" * 30 + "9", "10**10**10**10", "-" * 30 + "9**9**9**9"]
)
def test_towers_of_powers_are_refused_at_once(text: str) -> None:
    assert "too large" in complaint(text)  # which exact integers would take years to find


@pytest.mark.parametrize("opened", ["(", "-", "2**", "sqrt(", "min(1,"])
def test_what_is_nested_too_deep_is_refused(opened: str) -> None:
    assert f"nested more than {DEEPEST} deep" in complaint(opened * (DEEPEST + 5))


def test_what_is_too_long_is_refused() -> None:
    assert value("1" + "+1" * 149) == 150
    assert complaint("1" + "+1" * 150) == "a formula has at most 300 characters, not 301"
