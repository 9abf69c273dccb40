"""How numbers are written: three digits that line up, bars and sparklines on a log scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

MISSING = "–"
_SPARKS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"

# For a terminal whose encoding has no such characters; whatever else it lacks becomes "?".
_ASCII = str.maketrans(
    {
        **dict(zip(_SPARKS, "_.:-=+*#", strict=True)),
        **dict.fromkeys("▏▎▍", ""),
        **dict.fromkeys("▌▋▊▉", "#"),
        "–": "-", "…": "~", "−": "-", "±": "+-", "×": "x", "²": "^2", "·": "*", "→": "to",
        "§": "section ", "÷": "/", "▲": "^", "✕": "!",
    }
)  # fmt: skip


def number(value: float | None) -> str:
    """Write a number in three digits (four below 10,000); a dash where there is none.

    >>> [number(x) for x in (0.08921, 15.3, 1234.5, 1.2e5, 8.24e-5, 0, None)]
    ['0.0892', '15.3', '1234', '1.20e+05', '8.24e-05', '0', '–']
    """
    if value is None:
        return MISSING
    if not math.isfinite(value) or value == 0:
        return f"{value:.0f}"
    if 999.5 <= abs(value) < 9999.5:
        return f"{value:.0f}"
    return f"{value:#.3g}".rstrip(".")


def count(value: float) -> str:
    """Write a large count with its unit: 124M, 1.56B.

    >>> [count(n) for n in (950, 124_439_808, 1_557_611_200)]
    ['950', '124M', '1.56B']
    """
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return number(value / size) + unit
    return f"{value:.0f}"


def counted(number_: int, noun: str) -> str:
    """Count things whose plural ends in s.

    >>> counted(1, "layer"), counted(48, "layer")
    ('1 layer', '48 layers')
    """
    return f"{number_} {noun}{'s' * (number_ != 1)}"


def share(value: float | None) -> str:
    """Write a relative spread as a percentage.

    >>> [share(0.0213), share(1.4), share(None)]
    ['2.1%', '140%', '–']
    """
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.1%}" if abs(value) < 0.0995 else f"{value:.0%}"


def ascii_only(text: str) -> str:
    """Spell a text in ASCII.

    >>> ascii_only("×108 ± 2 x² ▁█")
    'x108 +- 2 x^2 _#'
    """
    # A dot between words sets apart; one between factors multiplies.
    return text.replace(" · ", " | ").translate(_ASCII).encode("ascii", "replace").decode()


class LogScale(NamedTuple):
    """Whole decades, so that a bar's length means the same wherever it stands."""

    low: int
    high: int

    @classmethod
    def around(cls, values: Iterable[float]) -> LogScale:
        """Span the decades that hold all positive finite values (at least one decade)."""
        logs = [math.log10(value) for value in values if 0 < value < math.inf]
        low = math.floor(min(logs, default=0))
        return cls(low, max(low + 1, math.ceil(max(logs, default=0))))

    @property
    def label(self) -> str:
        """Name the ends: ``1e-04 → 0.1``."""
        return f"{_decade(self.low)} → {_decade(self.high)}"

    def fraction(self, value: float) -> float:
        """Return a value's place from 0 to 1; zero is at 0, infinity and NaN at 1."""
        if value <= 0:
            return 0.0
        if not math.isfinite(value):
            return 1.0
        place = (math.log10(value) - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, place))

    def bar(self, value: float, width: int) -> str:
        """Draw a bar of up to ``width`` characters, in steps of an eighth."""
        eighths = round(self.fraction(value) * width * 8)
        return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")

    def sparkline(self, values: Sequence[float], width: int) -> str:
        """Draw a curve of up to ``width`` characters; ✕ marks what is not finite.

        Where there are more values than characters each shows the last value of its stretch.
        """
        width = min(width, len(values))
        ends = [i * len(values) // width for i in range(1, width + 1)]
        return "".join(self._spark(values[a:b]) for a, b in pairwise([0, *ends]))

    def _spark(self, stretch: Sequence[float]) -> str:
        if not all(map(math.isfinite, stretch)):
            return "✕"
        return _SPARKS[min(7, int(self.fraction(stretch[-1]) * 8))]


def _decade(exponent: int) -> str:
    return f"{10**exponent:g}" if -2 <= exponent <= 3 else f"1e{exponent:+03d}"


def layer_name(layer: int, n_layer: int) -> str:
    """Name what precedes the blocks, a block, or what follows them."""
    if layer < 0:
        return "embedding"
    return f"layer {layer}" if layer < n_layer else "head"
