"""Measuring over seeds, depths and rules: what the Python API gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import initscope
from initscope import sweep
from initscope.config import GPTConfig
from initscope.devices import choose_device, require_memory
from initscope.errors import MeasurementError, UsageError
from initscope.options import Options
from initscope.profile import COLUMNS
from initscope.rules import Draw, Rule

SMALL = GPTConfig(n_layer=4, n_embd=32, n_head=2, vocab_size=61, block_size=16)


def test_a_profile_has_every_depth_and_seed() -> None:
    profile = initscope.inspect(SMALL, "xavier", Options(seeds=2))
    assert tuple(profile.table.columns) == COLUMNS
    assert set(profile.table["n_layer"]) == {1, 2, 4}
    assert set(profile.table["seed"]) == {0, 1}
    assert set(profile.table["rule"]) == {"xavier"}
    stream = profile.stream()
    assert list(stream.index) == [-1, 0, 1, 2, 3]
    assert list(stream) == [0, 1]
    assert profile.run.seq_len == 16
    assert not profile.table.duplicated(list(COLUMNS[:-1])).any()


def test_depth_alone_is_enough() -> None:
    profile = initscope.inspect(1, options=Options(seq_len=2, forward_only=True))
    assert profile.config == GPTConfig(n_layer=1)
    assert set(profile.table["direction"]) == {"forward", "weight"}


@pytest.mark.parametrize(
    ("depth", "depths"), [(1, [1]), (2, [1, 2]), (3, [1, 3]), (48, [12, 24, 48])]
)
def test_depths_of_the_law(depth: int, depths: list[int]) -> None:
    assert Options().depths(SMALL.at_depth(depth)) == depths
    assert Options(depth_law=False).depths(SMALL.at_depth(depth)) == [depth]


def test_compare_is_paired() -> None:
    """Two rules that differ by a factor in c_proj alone share everything before it, to the bit."""
    scaled, flat = initscope.compare(SMALL, ["nanogpt", "nanogpt-flat"])
    for site in ("embed", "q", "v", "attn"):
        a, b = (p.select(site, "forward", "variance") for p in (scaled, flat))
        assert a.iloc[0].equals(b.iloc[0]), site
    small, large = (p.select("attn_out", "forward", "variance").to_numpy() for p in (scaled, flat))
    assert (large / small)[0, 0] == pytest.approx(2 * SMALL.n_layer, rel=1e-5)


def test_own_rules_are_measured() -> None:
    rule = Rule(name="own", summary="", source="", draw=lambda _site: Draw.constant(0.0))
    profile = initscope.inspect(SMALL, rule)
    assert profile.rule == "own"
    assert profile.stream().to_numpy().max() == 0
    excess = profile.select("loss", "forward", "loss_excess")
    assert excess.to_numpy() == pytest.approx(0, abs=1e-6)


def test_progress_counts_every_block() -> None:
    seen: list[tuple[str, int, int]] = []
    initscope.inspect(SMALL, options=Options(seeds=2), report=lambda *args: seen.append(args))
    assert [done for _, done, _ in seen] == list(range(1, 29))
    assert {total for _, _, total in seen} == {28}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"batch": -1}, "--batch must be at least 1"),
        ({"seq_len": 17}, "--seq-len 17 is beyond --block-size 16"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:x"}, "cuda:N"),
        ({"dtype": "float31"}, "did you mean 'float32'"),
        ({"tokens": "zip"}, "did you mean 'zipf'"),
    ],
)
def test_requests_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        initscope.inspect(SMALL, options=Options(**options))


def test_unknown_rules_are_found_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(UsageError, match="did you mean 'xavier'"):
        initscope.compare(SMALL, ["nanogpt", "xavir"])


def test_memory_is_checked_before_the_machine_swaps() -> None:
    with pytest.raises(MeasurementError, match="GiB are free"):
        initscope.inspect(GPTConfig(n_layer=4), options=Options(batch=10_000_000))
    require_memory(torch.device("cpu"), 1)


def test_an_allocator_s_refusal_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr(sweep, "measure", refuse)
    with pytest.raises(MeasurementError, match="out of memory on cpu"):
        initscope.inspect(SMALL)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32(dtype: str) -> None:
    half, full = (initscope.inspect(SMALL, options=Options(dtype=d)) for d in (dtype, "float32"))
    a, b = half.stream().to_numpy(), full.stream().to_numpy()
    np.testing.assert_allclose(a, b, rtol=0.05)
    a, b = (p.stream("backward").to_numpy() for p in (half, full))
    np.testing.assert_allclose(a, b, rtol=0.2)


@pytest.mark.cuda
def test_cuda_reads_what_the_cpu_reads() -> None:
    """Other random numbers, the same law: compare the means over seeds."""
    cpu, cuda = (
        initscope.inspect(SMALL, options=Options(seeds=8, device=d)) for d in ("cpu", "cuda")
    )
    a, b = (p.stream().mean(axis=1) for p in (cpu, cuda))
    np.testing.assert_allclose(a, b, rtol=0.3)
    assert choose_device("auto").device.type == "cuda"
