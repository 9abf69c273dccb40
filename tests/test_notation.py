from __future__ import annotations

import math

import pytest

from initscope.notation import LogScale, ascii_only, count, number, share


@pytest.mark.parametrize("value", [1e-40, 3.14159e-7, 0.089214, 0.9996, 15.31, 999.7, 4321.4, 9e37])
def test_a_number_is_right_to_three_digits_and_short(value: float) -> None:
    for signed in (value, -value):
        assert float(number(signed)) == pytest.approx(signed, rel=5e-3)
    assert len(number(value)) <= 8


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0892, "0.0892"),
        (15.3, "15.3"),
        (100, "100"),
        (0.3, "0.300"),
        (999.7, "1000"),
        (9999.4, "9999"),
        (9999.6, "1.00e+04"),
        (120_000, "1.20e+05"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (0.0, "0"),
        (None, "–"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_counts_and_shares() -> None:
    assert [count(n) for n in (7, 999_600, 8_030_261_248)] == ["7", "1.00M", "8.03B"]
    assert [share(x) for x in (0.0996, 0.0, math.nan)] == ["10%", "0.0%", "–"]


def test_a_scale_spans_whole_decades_around_what_is_positive_and_finite() -> None:
    assert LogScale.around([0.0009, 0.2, 0.0, math.inf, math.nan]) == (-4, 0)
    assert LogScale.around([1.0, 1.0]) == (0, 1)
    assert LogScale.around([]) == (0, 1)
    assert LogScale(-4, 0).label == "1e-04 → 1"
    assert LogScale(-2, 3).label == "0.01 → 1000"


def test_bars_grow_with_the_logarithm() -> None:
    scale = LogScale(-4, 0)
    assert [len(scale.bar(10.0**e, 8)) for e in (-4, -3, -2, -1, 0)] == [0, 2, 4, 6, 8]
    assert scale.bar(10 ** (-4 + 4 / 16), 8) == "▌"
    assert scale.bar(0.0, 8) == ""
    assert scale.bar(math.inf, 8) == scale.bar(math.nan, 8) == "█" * 8


def test_a_sparkline_shows_the_end_of_each_stretch_and_any_loss() -> None:
    scale = LogScale(0, 8)
    rising = [10.0**e for e in range(8)]
    assert scale.sparkline(rising, 20) == "▁▂▃▄▅▆▇█"
    assert scale.sparkline(rising, 4) == "▂▄▆█"
    assert scale.sparkline([1.0, 1.0, math.inf, 1.0], 2) == "▁✕"
    assert scale.sparkline([], 5) == ""


def test_ascii_keeps_the_order_of_heights() -> None:
    assert ascii_only("▁▂▃▄▅▆▇█") == "_.:-=+*#"
    assert ascii_only("██▍ ▌") == "## #"
    assert ascii_only("β ± 1 – x² · → ÷") == "? +- 1 - x^2 | to /"
