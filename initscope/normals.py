"""Standard normals: on a CPU from a table and an orthogonal mix, elsewhere from the device's own.

PyTorch's generator on the CPU, a Mersenne Twister that hands out one number at a time, spends most
of its 3.4 ns on random bits, and a model that is drawn twice is up to a quarter generator. Here
16 random bits pick one of 65,536 equally likely *levels*, the means of the normal distribution
between neighbouring quantiles, and four picks each are mixed by the orthogonal Hadamard matrix of
order 4 (as Wallace 1996 mixes a pool; here no pick is used twice).

What is not normal about it, exactly (``tests/test_normals.py``): mean 0 and variance 1 are exact.
A pick has an excess kurtosis of -1.7e-4 and ends at 4.39; a mix of four has -4.2e-5, which ten
billion entries could begin to tell, and ends at 8.8. The four mixes of the same picks are
uncorrelated, and so are their squares but for 2e-5.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

LEVELS = 1 << 16  # as many as 16 bits tell apart
MIX = 4
BLOCK = 1 << 18  # entries made at a time: a core's cache holds them with what they are made from


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


@lru_cache(maxsize=16)  # a rule has few different std
def _parts(std: float) -> tuple[Tensor, Tensor]:
    return (levels() * (std / 2)).float(), hadamard()


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
        quarter = -(-len(part) // MIX)
        # 64 bits each, enough for a mix; ``random_raw``, which would give the same, keeps the GIL.
        bits = generator.integers(0, 1 << 64, quarter, np.uint64)
        picks = torch.from_numpy(bits.view(np.uint16)).int()
        picked = torch.index_select(table, 0, picks).view(MIX, quarter)
        if len(part) == MIX * quarter:
            torch.mm(mix, picked, out=part.view(MIX, quarter))
        else:
            part.copy_((mix @ picked).view(-1)[: len(part)])
    return x
