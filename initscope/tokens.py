"""Token ids for a measurement: synthetic, or read from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from initscope.errors import UsageError, unknown

Ids = npt.NDArray[np.int64]
FileIds = npt.NDArray[np.uint16 | np.uint8]

SYNTHETIC = ("zipf", "uniform")


def tokens(source: str, *, vocab_size: int, batch: int, length: int, seed: int = 0) -> Ids:
    """Return token ids (batch, length).

    Args:
        source: ``zipf`` (p ∝ 1/rank, nearest to text), ``uniform``, or the path of a file:
            ``.bin`` is read as nanoGPT's raw uint16, anything else as bytes.
        vocab_size: ids must be below it.
        batch: number of sequences.
        length: ids in each.
        seed: which random ids, or which places in the file.

    Raises:
        UsageError: for a file that is missing, too short, or holds ids beyond the vocabulary.
    """
    generator = np.random.default_rng([seed, length])
    if source == "uniform":
        return generator.integers(vocab_size, size=(batch, length))
    if source == "zipf":
        return _zipf(generator, vocab_size, (batch, length))
    return _windows(generator, _file_ids(source), source, vocab_size, (batch, length))


def _zipf(generator: np.random.Generator, vocab_size: int, shape: tuple[int, int]) -> Ids:
    """Draw ids with p(rank) ∝ 1/rank by inverting the cumulative distribution."""
    cumulative = np.cumsum(1 / np.arange(1, vocab_size + 1))
    return np.searchsorted(cumulative, generator.random(shape) * cumulative[-1]).astype(np.int64)


def _file_ids(source: str) -> FileIds:
    path = Path(source)
    if not path.exists() and not path.suffix and "/" not in source:
        raise unknown("token source", source, [*SYNTHETIC, "a file's path"])
    try:
        size = path.stat().st_size
        if path.suffix == ".bin" and size % 2:
            raise UsageError(f"{source} is not a file of uint16 ids: its size, {size}, is odd")
        dtype: type[np.uint16 | np.uint8] = np.uint16 if path.suffix == ".bin" else np.uint8
        return np.memmap(path, dtype=dtype, mode="r") if size else np.empty(0, dtype)
    except OSError as error:
        raise UsageError(f"cannot read tokens from {source}: {error.strerror}") from error


def _windows(
    generator: np.random.Generator,
    ids: FileIds,
    source: str,
    vocab_size: int,
    shape: tuple[int, int],
) -> Ids:
    batch, length = shape
    if len(ids) < length:
        raise UsageError(
            f"{source} has {len(ids)} tokens, but one sequence needs {length} "
            "(--seq-len and the id that follows); a smaller --seq-len would do"
        )
    starts = generator.integers(len(ids) - length + 1, size=batch)
    windows = np.stack([ids[start : start + length] for start in starts]).astype(np.int64)
    if windows.max() >= vocab_size:
        raise UsageError(
            f"{source} has the id {windows.max()}, beyond the vocabulary of {vocab_size}; "
            f"--vocab-size {windows.max() + 1} would hold it"
        )
    return windows


def describe(source: str, batch: int, seq_len: int) -> str:
    """Say in a few words what the tokens are."""
    name = source if source in SYNTHETIC else Path(source).name
    return f"{name}, {batch} x {seq_len}"
