"""Standard normals: on a CPU from a table and an orthogonal mix, elsewhere from the device's own.

PyTorch's generator on the CPU, a Mersenne Twister that hands out one number at a time, spends most
of its 3.4 ns on random bits, and a model that is drawn twice is up to a quarter generator. Here
16 random bits pick one of 65,536 rows of four normals each, and four rows are mixed by the
orthogonal Hadamard matrix of order 4 (as Wallace 1996 mixes a pool; here no pick is used twice).

Each column of the table holds each of 65,536 equally likely *levels* once: the means of the normal
distribution between neighbouring quantiles. Which levels meet in a row is read from a scrambled
Sobol' net (Sobol' 1967; Matoušek 1998, as Owen 1995): the rows fill four dimensions evenly, far
more so than random ones would.

What is not normal about it, exactly (``tests/test_normals.py``): mean 0 and variance 1 are exact.
A pick has an excess kurtosis of -1.7e-4 and ends at 4.39; a mix of four has -4.2e-5, which ten
billion entries could begin to tell, and ends at 8.8. The sixteen mixes that come of the same four
rows are correlated by at most 1.3e-5, and their squares by 9e-5.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

DIGITS = 16  # random bits a pick
LEVELS = 1 << DIGITS
ROW = 4  # normals a pick; as many bytes as PyTorch's widest number has, which it gathers whole
MIX = 4
SCRAMBLE = 87  # a seed; of the first hundred, the one whose rows' moments are nearest to normal
BLOCK = 1 << 19  # entries made at a time; of two threads, shorter calls wait for Python's lock


@cache
def levels() -> Tensor:
    """Return the :data:`LEVELS` levels, ascending, in float64, of variance 1.

    The mean of a standard normal between a and b, of probability p, is (φ(a) - φ(b)) / p. What
    their variance lacks, that within the levels, is made good by a factor of 1 + 7e-7.
    """
    above = torch.arange(LEVELS // 2, LEVELS + 1, dtype=torch.float64) / LEVELS
    quantile = torch.special.ndtri(above)
    density = torch.exp(quantile.square() / -2) / math.sqrt(2 * math.pi)
    upper = (density[:-1] - density[1:]) * LEVELS
    both = torch.cat([-upper.flip(0), upper])
    return both / both.square().mean().sqrt()


def hadamard() -> Tensor:
    """Return the symmetric Hadamard matrix of order :data:`MIX`, whose half is orthogonal."""
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    return torch.kron(two, two)


def net() -> Tensor:
    """Return the levels that meet in each row, as numbers (:data:`LEVELS`, :data:`ROW`).

    The first points of Sobol's sequence, each coordinate's binary digits scrambled by a random
    lower triangular matrix and a shift, which keep what is even about them.
    """
    first = 1 << torch.arange(DIGITS)  # these span the others by exclusive or
    points = torch.quasirandom.SobolEngine(ROW).draw(LEVELS, dtype=torch.float64)[first]
    places = torch.arange(DIGITS - 1, -1, -1)  # the first digit is worth a half
    digits = (points.T[:, :, None] * LEVELS).long() >> places & 1
    random = np.random.SFC64(SCRAMBLE).random_raw(ROW * DIGITS * (DIGITS + 1)) >> 63
    square, shift = torch.from_numpy(random.astype(int)).split(ROW * DIGITS * DIGITS)
    matrix = square.view(ROW, DIGITS, DIGITS).tril(-1) + torch.eye(DIGITS, dtype=torch.long)
    spanning = ((digits @ matrix.mT & 1) << places).sum(-1).T
    found = (shift.view(ROW, DIGITS) << places).sum(-1)[None]
    for row in spanning:
        found = torch.cat([found, found ^ row])
    return found


@cache
def rows() -> Tensor:
    """Return the table's rows (:data:`LEVELS`, :data:`ROW`), in float64."""
    return levels()[net()]


@lru_cache(maxsize=16)  # a rule has few different std
def _parts(std: float) -> tuple[Tensor, Tensor]:
    return (rows() * (std / 2)).float().view(torch.complex128)[:, 0], hadamard()


def fill(x: Tensor, std: float, seed: int) -> Tensor:
    """Fill a flat float32 tensor with normals of a std, from a 64-bit seed; return it.

    The same numbers in every thread and for any number of them; those of another kind of device
    are other numbers.
    """
    if x.device.type != "cpu":
        return x.normal_(std=std, generator=torch.Generator(x.device).manual_seed(seed))
    table, mix = _parts(std)
    generator = np.random.Generator(np.random.SFC64(seed))
    for part in x.split(BLOCK):
        words = -(-len(part) // (MIX * ROW))
        # 64 bits each, enough for a mix; ``random_raw``, which would give the same, keeps the GIL.
        bits = generator.integers(0, 1 << 64, words, np.uint64)
        picks = torch.from_numpy(bits.view(np.uint16)).int()
        picked = torch.index_select(table, 0, picks).view(torch.float32).view(MIX, -1)
        if len(part) == picked.numel():
            torch.mm(mix, picked, out=part.view(MIX, -1))
        else:
            part.copy_((mix @ picked).view(-1)[: len(part)])
    return x
