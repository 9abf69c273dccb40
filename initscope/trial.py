"""A trial draw of single parameters, and what is measured on it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from initscope.draws import CHUNK, Drawer, Filling
from initscope.rules.core import Draw
from initscope.sites import Parameter

MOST = 8 * CHUNK["cpu"]  # entries drawn of one tensor: whole chunks, so that they are its own
MOST_ORTHOGONAL = 2048**2  # a matrix that is made orthogonal is drawn whole, or not at all


class Trial(NamedTuple):
    """What was measured on a draw: the std, its standard error, and over how many entries."""

    std: float
    error: float
    entries: int


def trial(parameter: Parameter, draw: Draw, seed: int = 0) -> Trial | None:
    """Draw a parameter as the model of this seed has it on the CPU, and measure it.

    At most the first :data:`MOST` entries are drawn; a large orthogonal matrix is not, which
    gives None. The standard error of the std s over n entries is s·sqrt((κ - 1) / 4n), κ the
    fourth moment over the squared variance (the delta method); the sum of squares of an
    orthogonal matrix is no matter of chance.
    """
    whole = math.prod(parameter.shape)
    if draw.kind == "orthogonal":
        if whole > MOST_ORTHOGONAL:
            return None
        tensor = torch.empty(parameter.shape)
    else:
        tensor = torch.empty(min(whole, MOST))
    Drawer(seed).fill([Filling(tensor, draw, parameter.site.layer, parameter.path)])
    return _measured(tensor, by_chance=draw.kind != "orthogonal")


def _measured(tensor: torch.Tensor, *, by_chance: bool) -> Trial:
    x = tensor.flatten().double()
    square = (x - x.mean()).square_()
    variance, count = float(square.mean()), x.numel()
    if variance == 0 or not by_chance:
        return Trial(math.sqrt(variance), 0.0, count)
    kurtosis = float(square.square_().mean()) / variance**2
    return Trial(math.sqrt(variance), math.sqrt(variance * (kurtosis - 1) / (4 * count)), count)
