"""Models at initialisation to identify: by rule, and with a fault planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from initscope.construction import build
from initscope.gpt import GPT
from initscope.origin.result import Identification
from initscope.rules import config_for

# Wide enough that no two rules come within the sampling error of each other.
SIZE: dict[str, Any] = {
    "n_layer": 4, "n_embd": 64, "n_head": 4, "vocab_size": 384, "block_size": 96,
}  # fmt: skip


def model(rule: str = "nanogpt", seed: int = 0, **fields: Any) -> GPT:
    """Draw a small GPT by a rule, on the rule's own architecture."""
    dtype = fields.pop("dtype", torch.float32)
    return build(config_for(rule, **{**SIZE, **fields}), rule, seed, dtype=dtype)


def faulty(
    change: Callable[[Tensor], Tensor], *paths: str, rule: str = "nanogpt", seed: int = 0
) -> GPT:
    """Draw a small GPT and change the matrices whose names contain one of the paths."""
    found = model(rule, seed)
    changed = 0
    for name, parameter in found.named_parameters():
        if parameter.dim() > 1 and any(path in name for path in paths or ("",)):
            parameter.data = change(parameter.data)
            changed += 1
    assert changed, paths
    return found


def misfits(found: Identification) -> dict[str, tuple[list[int], str | None]]:
    """Return, by group, the layers at fault and the mistake that is named."""
    return {
        miss.group.label: (
            [m.named.site.layer for m in miss.members], found.fault(found.nearest, miss)
        )
        for miss in found.nearest.misses
    }  # fmt: skip


def times(factor: float) -> Callable[[Tensor], Tensor]:
    """Return what multiplies by a factor."""
    return lambda x: x * factor
