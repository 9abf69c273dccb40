"""Readings of the resident engine by key, and how alike two sets of them must be."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from initscope.resident import feed, measure
from small import ids

Values = dict[tuple[int, str, str, str], float]
RELATIVE = 1e-5


def resident(model: nn.Module, batch: object = None, **how: Any) -> Values:
    tokens = ids() if batch is None else batch
    return {r[:4]: r.value for r in measure(model, feed(model, tokens), **how).readings}


def assert_same(got: Values, want: Values, relative: float = RELATIVE) -> None:
    assert set(want) <= set(got)
    for key, value in want.items():
        # Differences: a mean, the excess loss, m4 / m2² - 3, and |Σ u|² / T(T - 1) - 1 / (T - 1)
        # for some 24 tokens. What cancels sets their size.
        size = {"mean": "max_abs", "loss_excess": "loss"}.get(key[3], "")
        constant = {"kurtosis": 3.0, "token_cosine": 1 / 24}.get(key[3])
        cancelled = constant or abs(want.get((*key[:3], size), 0.0))
        slack = relative * cancelled
        assert got[key] == pytest.approx(value, rel=relative, abs=slack + 1e-12, nan_ok=True), key
