"""Every statistic against NumPy on the same tensor, at sizes where float32 would lose it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import reference
from initscope import gradient_norm, moments
from initscope.readout import Key, headroom
from initscope.recorder import Recorder

SHAPE = (2, 50, 40)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(seed))


def finalised(parts: list[Tensor], kind: str = "activation") -> dict[str, float]:
    recorder = Recorder()
    for part in parts:
        recorder.add(
            Key(0, "x", "forward", kind), moments.central(moments.scaled(part)), part.numel()
        )
    return {reading.statistic: reading.value for reading in recorder.readings()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shift", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1.0, 1e15, 1e30])
def test_moments_keep_large_means_tiny_and_huge_values(
    scale: float, shift: float, seed: int
) -> None:
    x = (normal(seed=seed).square() + shift) * scale
    got, want = finalised([x]), reference.moments(x)
    for name in ("second_moment", "variance", "mean", "max_abs"):
        assert got[name] == pytest.approx(want[name], rel=1e-4)
    assert got["kurtosis"] == pytest.approx(want["kurtosis"], rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1e-15, 1.0, 1e30])
@pytest.mark.parametrize("shift", [0.0, 3.0, 1e4])
def test_the_second_order_alone_is_the_same(scale: float, shift: float, dtype: torch.dtype) -> None:
    x = ((normal() + shift) * scale).to(dtype)
    given = x.clone()
    recorder = Recorder()
    second = moments.central(moments.scaled(x), 2)
    recorder.add(Key(0, "x", "forward", "activation"), second, x.numel())
    recorder.add(Key(0, "x", "weight_grad", "weight_gradient"), moments.square(x), x.numel())
    *got, square = recorder.readings()
    want = reference.moments(x)
    assert {one.statistic for one in got} >= {"variance", "mean", "max_abs", "second_moment"}
    for one in got:
        if one.statistic in want:
            assert one.value == pytest.approx(want[one.statistic], rel=1e-4, abs=0), one.statistic
    assert "kurtosis" not in {one.statistic for one in got}
    assert square.value == pytest.approx(want["second_moment"], rel=1e-5)
    assert torch.equal(x, given)


def test_parts_merge_into_the_whole() -> None:
    parts = [normal(30) + 5, normal(7, 11, seed=1).square(), normal(500, seed=2) * 1e-3 - 20]
    got = finalised(parts)
    want = reference.moments(torch.cat([part.flatten() for part in parts]))
    assert got["kurtosis"] == pytest.approx(want["kurtosis"], rel=1e-5)
    for name in ("second_moment", "variance", "mean", "max_abs"):
        assert got[name] == pytest.approx(want[name], rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reduced_in_float32(dtype: torch.dtype) -> None:
    x = (normal() * 300).to(dtype)  # its squares are beyond float16
    assert finalised([x])["variance"] == pytest.approx(reference.moments(x)["variance"], rel=1e-5)


def test_infinite_is_overflow_and_nan_is_nan() -> None:
    infinite, unknown = normal(), normal()
    infinite[0, 0, 0], unknown[0, 0, 0] = torch.inf, torch.nan
    assert finalised([infinite])["variance"] == math.inf
    assert finalised([infinite])["headroom_fp16"] == -math.inf
    assert math.isnan(finalised([unknown])["variance"])


def test_zeros_and_constants_have_no_variance() -> None:
    zero, three = finalised([torch.zeros(SHAPE)]), finalised([torch.full(SHAPE, 3.0)])
    assert zero["variance"] == zero["second_moment"] == 0
    assert three["variance"] == pytest.approx(0, abs=1e-12)
    assert three["second_moment"] == pytest.approx(9)
    assert math.isnan(zero["kurtosis"])


def test_weight_outliers_show_in_the_largest_entry_and_the_kurtosis() -> None:
    x = normal(1000, 40) * 0.02
    x[0, 0] = 20.0  # one element at the bound, as a truncation in absolute units leaves
    got = finalised([x], "weight")
    want = reference.moments(x)
    assert got["max_over_std"] == pytest.approx(20 / math.sqrt(want["variance"]), rel=1e-5)
    assert got["max_over_std"] > 100
    assert got["kurtosis"] == pytest.approx(want["kurtosis"], rel=1e-4)
    assert got["kurtosis"] > 1000


@pytest.mark.parametrize("common", [0.0, 0.5, 100.0])
def test_token_cosine(common: float) -> None:
    x = normal() + common
    got = moments.token_cosine(moments.scaled(x)).item()
    assert got == pytest.approx(reference.token_cosine(x), abs=1e-6)


def test_a_zero_token_has_no_direction() -> None:
    x = torch.ones(1, 4, 8)
    x[0, 0] = 0
    assert moments.token_cosine(moments.scaled(x)).item() == pytest.approx(6 / 12)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention(kv_heads: int, scale: float) -> None:
    q, k = normal(2, 4, 20, 8), normal(2, kv_heads, 20, 8, seed=1)
    share, variance = moments.attention(q, k, scale).tolist()
    want_share, want_std = reference.attention(q, k, scale)
    assert share == pytest.approx(want_share, rel=1e-5)
    assert math.sqrt(variance) == pytest.approx(want_std, rel=1e-5)


def test_attention_in_slices_and_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k = normal(1, 4, 60, 8), normal(1, 4, 60, 8, seed=1)
    whole = moments.attention(q, k, 1.0)
    for table in (moments.PIECE, moments.LONG_PIECE):
        monkeypatch.setitem(table, "cpu", 1)
    assert torch.allclose(moments.attention(q, k, 1.0), whole, rtol=1e-6)
    monkeypatch.setattr(moments, "MAX_QUERIES", 30)
    assert torch.allclose(moments.attention(q, k, 1.0), whole, rtol=0.05)


@pytest.mark.parametrize("tokens", [5, 300])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e18])
def test_weight_gradient_norm_by_either_order(tokens: int, scale: float) -> None:
    x, g = normal(tokens, 30) + 1, normal(tokens, 50, seed=1) * scale
    raw = gradient_norm.LinearInput(x).gradient_square(moments.scaled(g)).double().numpy()
    want = ((g.double().T @ x.double()) ** 2).sum().item()
    assert raw[0] * raw[1] * raw[4] * raw[2] * raw[3] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("centred", [True, False])
def test_gain_gradient_is_autograd_s(*, centred: bool) -> None:
    x, g = normal(), normal(seed=1)
    norm = torch.nn.LayerNorm(40) if centred else torch.nn.RMSNorm(40, eps=1e-5)
    norm(x).backward(g)
    raw = gradient_norm.gain_square(x, moments.scaled(g), centred=centred, eps=1e-5).double()
    want = reference.gradient(norm.weight).double().square().sum().item()
    assert raw.prod().item() == pytest.approx(want, rel=1e-5)


def test_shares() -> None:
    x = torch.tensor([-3.0, 0.0, 0.0, 1.0])
    assert moments.share_zero(x).item() == 0.5
    assert moments.share_below(x, -1).item() == 0.25


@pytest.mark.parametrize(
    ("largest", "want"), [(65504.0, 0), (65504 / 8, 3), (131008.0, -1), (0.0, math.inf)]
)
def test_headroom_is_in_bits(largest: float, want: float) -> None:
    assert headroom(largest, 65504) == pytest.approx(want)


def test_one_copy_to_the_host_whatever_is_recorded() -> None:
    assert Recorder().readings() == []
    recorder = Recorder()
    for layer in range(3):
        recorder.add(Key(layer, "x", "forward", "loss"), torch.tensor(float(layer)))
    assert [reading.value for reading in recorder.readings()] == [0, 1, 2]
    assert np.isfinite(recorder.readings()[0].value)
