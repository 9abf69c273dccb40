"""Draws: the closed-form moments, the sampled ones, pairing, and independence of threads."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from initscope.draws import CHUNK, Drawer, Filling, generator_seed
from initscope.readout import Key, put_together
from initscope.rules import Draw

FAN_IN, FAN_OUT = 800, 1000
DRAWS = [
    Draw.normal(0.02),
    Draw.truncated_normal(0.02, 2),
    Draw.truncated_normal(0.5, 1),
    Draw.uniform(0.3),
    Draw.orthogonal(1.4, FAN_IN, FAN_OUT),
    Draw.constant(1.0),
]


def drawn(
    draw: Draw, seed: int = 0, path: str = "w", layer: int = 0, threads: int | None = None
) -> Tensor:
    tensor = torch.empty(FAN_OUT, FAN_IN)
    Drawer(seed, threads=threads).fill([Filling(tensor, draw, layer, path)])
    return tensor


def reference(draw: Draw) -> stats.rv_continuous:
    """Return SciPy's distribution of an entry."""
    if draw.kind == "normal":
        return stats.norm(scale=draw.scale)
    if draw.kind == "uniform":
        return stats.uniform(-draw.scale, 2 * draw.scale)
    return stats.truncnorm(-draw.cut, draw.cut, scale=draw.scale)


@pytest.mark.parametrize("draw", DRAWS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_sampled_std_and_bound_match_the_closed_form(draw: Draw, seed: int) -> None:
    x = drawn(draw, seed).double()
    # The relative error of a std from n entries is at most that of a normal, 1/sqrt(2n).
    assert x.std(correction=0).item() == pytest.approx(draw.std, rel=5 / math.sqrt(2 * x.numel()))
    assert abs(x.mean().item() - draw.mean) <= 5 * draw.std / math.sqrt(x.numel())
    assert x.abs().max().item() <= draw.bound * (1 + 1e-6)


@pytest.mark.parametrize(
    "draw", [d for d in DRAWS if d.kind not in {"orthogonal", "constant"}], ids=str
)
@pytest.mark.parametrize("seed", range(3))
def test_distribution(draw: Draw, seed: int) -> None:
    entries = drawn(draw, seed).flatten()[:20_000].double().numpy()
    assert stats.kstest(entries, reference(draw).cdf).pvalue > 1e-4
    assert draw.std == pytest.approx(reference(draw).std(), rel=1e-9)


@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (60, 20), (20, 60)])
def test_orthogonal_is_orthogonal(rows: int, columns: int) -> None:
    x = torch.empty(rows, columns)
    Drawer(0).fill([Filling(x, Draw.orthogonal(2.0, columns, rows), 0, "w")])
    small = x if rows <= columns else x.T
    assert torch.allclose(small @ small.T, 4 * torch.eye(min(rows, columns)), atol=1e-5)
    # Haar-distributed: neither the diagonal nor the first entry keeps a sign.
    firsts = []
    for seed in range(20):
        Drawer(seed).fill([Filling(x, Draw.orthogonal(1.0, columns, rows), 0, "w")])
        firsts.append(x[0, 0].item() > 0)
    assert 2 <= sum(firsts) <= 18


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("draw", DRAWS, ids=str)
def test_threads_change_no_bit(draw: Draw, threads: int) -> None:
    assert CHUNK["cpu"] < FAN_IN * FAN_OUT  # more than one chunk
    assert torch.equal(drawn(draw, threads=threads), drawn(draw, threads=3))


def test_rules_share_the_same_normals() -> None:
    z = drawn(Draw.normal(1.0))
    assert torch.allclose(drawn(Draw.normal(0.02)), z * 0.02)
    uniform, truncated = drawn(Draw.uniform(1.0)), drawn(Draw.truncated_normal(1.0, 2))
    order = z.flatten().argsort()
    for other in (uniform, truncated):
        assert (other.flatten()[order].diff() >= 0).all()


def test_seed_layer_and_path_each_give_other_numbers() -> None:
    base = drawn(Draw.normal(1.0))
    others = [
        drawn(Draw.normal(1.0), seed=1), drawn(Draw.normal(1.0), layer=1),
        drawn(Draw.normal(1.0), path="v"),
    ]  # fmt: skip
    for other in others:
        correlation = torch.corrcoef(torch.stack([base.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation.item()) < 5 / math.sqrt(base.numel())


def test_chunks_do_not_repeat() -> None:
    flat = drawn(Draw.normal(1.0)).flatten()
    size = CHUNK["cpu"]
    assert not torch.equal(flat[: flat.numel() - size], flat[size:])


def test_seeds_are_those_of_every_machine() -> None:
    assert generator_seed(0, 3, "q.weight", 1) == 0x2C03F0A920E98AC4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_the_same_numbers(dtype: torch.dtype) -> None:
    half = torch.empty(FAN_OUT, FAN_IN, dtype=dtype)
    Drawer(0).fill([Filling(half, Draw.normal(0.02), 0, "w")])
    assert torch.equal(half, drawn(Draw.normal(0.02)).to(dtype))


@pytest.mark.parametrize("draw", DRAWS, ids=str)
@pytest.mark.parametrize("factor", [1.0, 1e-20, 1e25])
def test_statistics_taken_while_drawing_cover_every_entry(draw: Draw, factor: float) -> None:
    tensor = torch.empty(FAN_OUT, FAN_IN)
    draw = dataclasses.replace(draw, scale=draw.scale * factor)
    parts = Drawer(0).fill([Filling(tensor, draw, 0, "w")], statistics=True)["w"]
    key = Key(0, "w", "weight", "weight")
    (found,) = put_together({key: [(n, raw.double().numpy()) for n, raw in parts]}).values()
    exact = tensor.double().flatten()
    deviation = exact - exact.mean()
    assert found.size == tensor.numel()
    assert found.max_abs == pytest.approx(exact.abs().max().item(), rel=1e-6)
    assert found.mean == pytest.approx(exact.mean().item(), abs=1e-6 * draw.scale)
    for power, moment in ((2, found.m2), (3, found.m3), (4, found.m4)):
        expected = deviation.pow(power).mean().item()
        assert moment == pytest.approx(expected, rel=2e-6, abs=1e-6 * abs(draw.scale) ** power)
