"""A tensor's statistics: against NumPy, part by part, in every dtype."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from initscope import sampling
from initscope.naming import Part
from initscope.sampling import sample


def normal(*shape: int, std: float = 0.02, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * std


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-4, 0.02, 30.0])
def test_statistics_are_those_of_numpy(
    dtype: torch.dtype, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "CHUNK", 1000)  # several chunks, the last one short
    x = (normal(70, 61, std=scale) + scale / 10).to(dtype)
    found, exact = sample(x), x.double().numpy()
    assert found.count == exact.size
    assert found.mean == pytest.approx(exact.mean(), rel=1e-4)
    assert found.std == pytest.approx(exact.std(), rel=1e-5)
    assert found.mean_abs == pytest.approx(np.abs(exact).mean(), rel=1e-5)
    assert (found.low, found.high) == (exact.min(), exact.max())
    assert found.rounding == torch.finfo(dtype).eps / 2


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    assert sample(normal(64, 64, std=scale)).std == pytest.approx(scale, rel=0.05)


def test_parts_of_a_fused_tensor() -> None:
    q, k, v = (normal(8, 16, std=std, seed=i) for i, std in enumerate((1.0, 2.0, 3.0)))
    beside = torch.cat([q, k, v])
    by_head = torch.stack([x.view(4, 2, 16) for x in (q, k, v)], dim=1).view(24, 16)
    for x, part in [
        (beside, Part(0, 1, 8, 16)), (beside.T, Part(1, 1, 8, 16)), (by_head, Part(0, 4, 2, 4)),
    ]:  # fmt: skip
        found, whole = sample(x, part), sample(k)
        assert found.count == whole.count
        assert found.std == pytest.approx(whole.std, rel=1e-6)
        assert found.high == whole.high


def test_rows_of_zeros_are_padding_only_where_rows_stand_for_themselves() -> None:
    x = normal(50, 16)
    x[[3, 7]] = 0
    padded, plain = sample(x, rows=True), sample(x)
    assert (padded.zero_rows, padded.count) == (2, 48 * 16)
    assert padded.std == pytest.approx(plain.std * math.sqrt(50 / 48), rel=1e-3)
    assert (plain.zero_rows, plain.count) == (0, 800)
    assert sample(torch.zeros(4, 4), rows=True).zero_rows == 0  # a matrix of zeros is a rule's


@pytest.mark.parametrize(("rows", "columns"), [(200, 200), (400, 100), (100, 400)])
def test_alignment_tells_orthogonal_from_independent(rows: int, columns: int) -> None:
    x = torch.empty(rows, columns)
    torch.nn.init.orthogonal_(x, generator=torch.Generator().manual_seed(0))
    assert sample(x.bfloat16()).alignment < 1e-3 * max(rows, columns) / 100
    found = sample(normal(rows, columns))
    # The mean of pairs squared cosines, each of variance 2 in these units.
    assert found.alignment == pytest.approx(1, abs=5 * math.sqrt(2 / found.pairs))


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5])
def test_a_constant_has_a_std_of_exactly_zero(value: float) -> None:
    found = sample(torch.full((1000,), value, dtype=torch.bfloat16))
    assert found.constant
    assert found.std == 0
    assert found.mean == pytest.approx(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_seen(value: float) -> None:
    x = normal(20, 20)
    x[3, 3] = value
    assert not sample(x).finite


def test_eight_bits() -> None:
    x = normal(64, 64, std=1.0)
    found = sample(x.to(torch.float8_e4m3fn), rows=True)
    assert found.std == pytest.approx(x.std().item(), rel=5e-3)
    assert found.rounding == 2**-4


def test_a_single_entry_and_a_single_row() -> None:
    assert sample(torch.tensor([2.0])).std == 0
    assert sample(normal(1, 30)).pairs == 0
