"""Token ids: distributions, files, and every way in which a file can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from initscope.errors import UsageError
from initscope.tokens import tokens

SHAPE = {"vocab_size": 1000, "batch": 40, "length": 500}


def test_uniform_is_uniform() -> None:
    ids = tokens("uniform", **SHAPE)
    assert ids.shape == (40, 500)
    assert (ids.min(), ids.max()) == (0, 999)
    assert ids.mean() == pytest.approx(499.5, abs=5 * 289 / np.sqrt(ids.size))


@pytest.mark.parametrize("seed", range(3))
def test_zipf_falls_as_one_over_rank(seed: int) -> None:
    counts = np.bincount(tokens("zipf", seed=seed, **SHAPE).ravel(), minlength=1000)
    harmonic = (1 / np.arange(1, 1001)).sum()
    for rank in (1, 2, 5, 20):
        p = 1 / (rank * harmonic)
        error = np.sqrt(p * (1 - p) * counts.sum())
        assert counts[rank - 1] == pytest.approx(p * counts.sum(), abs=5 * error)


def test_seeds_differ_and_repeat() -> None:
    first, again, other = (tokens("zipf", seed=seed, **SHAPE) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_text_is_bytes(tmp_path: Path) -> None:
    file = tmp_path / "input.txt"
    file.write_text("hello world")
    ids = tokens(str(file), vocab_size=256, batch=3, length=11)
    assert bytes(ids[0].astype(np.uint8)) == b"hello world"


def test_bin_is_uint16(tmp_path: Path) -> None:
    file = tmp_path / "train.bin"
    np.arange(5000, 5100, dtype=np.uint16).tofile(file)
    ids = tokens(str(file), vocab_size=50304, batch=8, length=10)
    assert (np.diff(ids, axis=1) == 1).all()
    assert len({int(row[0]) for row in ids}) > 1, "windows start at random places"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "has 0 tokens, but one sequence needs 10"),
        ("empty.bin", b"", "has 0 tokens"),
        ("short.txt", b"abc", "has 3 tokens"),
        ("odd.bin", b"abc", "its size, 3, is odd"),
        ("large.txt", b"zzzzzzzzzzzz", "has the id 122, beyond the vocabulary of 100"),
    ],
)
def test_bad_files_are_one_clear_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        tokens(str(file), vocab_size=100, batch=1, length=10)


def test_missing_file_and_mistyped_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        tokens(str(tmp_path / "no.bin"), **SHAPE)
    with pytest.raises(UsageError, match="did you mean 'zipf'"):
        tokens("zipff", **SHAPE)
    with pytest.raises(UsageError, match="Is a directory"):
        tokens(str(tmp_path), **SHAPE)
