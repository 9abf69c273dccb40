"""The user's GPT of users_gpt.py, drawn well by some rules, and with mistakes that people made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import initscope
from initscope.bounds import Bounds
from initscope.checks import Evidence, get_check
from initscope.options import Options
from initscope.profile import Profile
from initscope.verdict import Finding
from users_gpt import Settings, UsersGPT

DEPTH, WIDTH = 6, 48
Fill = Callable[[Tensor, float], object]
Std = Callable[[str, Tensor], float]


def normal(weight: Tensor, std: float) -> object:
    return nn.init.normal_(weight, std=std)


def truncated(weight: Tensor, std: float, *, bound: float = 0.0) -> object:
    """Truncate at 3 σ, or at a bound of its own."""
    bound = bound or 3 * std
    return nn.init.trunc_normal_(weight, std=std, a=-bound, b=bound)


def nanogpt(name: str, weight: Tensor) -> float:
    """N(0, 0.02), divided by sqrt(2 n_layer) where it writes to the stream."""
    del weight
    return 0.02 / math.sqrt(2 * DEPTH) if name.endswith("c_proj.weight") else 0.02


def lecun(name: str, weight: Tensor) -> float:
    """1/sqrt(fan_in), and 0.02 for tables."""
    return 0.02 if "transformer.w" in name or "lm_head" in name else weight.shape[1] ** -0.5


def drawn(seed: int, std: Std, fill: Fill = normal, *, depth: int = DEPTH) -> UsersGPT:
    """Draw every matrix from the std of its name and shape."""
    torch.manual_seed(seed)
    model = UsersGPT(Settings(n_layer=depth, n_embd=WIDTH))
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            fill(weight, std(name, weight))
    return model


def layers(model: UsersGPT, path: str, chosen: Sequence[int] = range(DEPTH)) -> list[nn.Module]:
    """Return a module of each block, or of some."""
    return [model.get_submodule(f"transformer.h.{layer}.{path}") for layer in chosen]


def held(model: nn.Module, rule: str, seed: int = 0) -> Profile:
    """Measure a model against a rule."""
    ids = torch.randint(97, (2, 33), generator=torch.Generator().manual_seed(seed))
    return initscope.inspect(model, ids, Options(device="cpu"), against=rule)


def finding(profile: Profile) -> Finding:
    return get_check("as-predicted").find(Evidence(profile, Bounds()))
