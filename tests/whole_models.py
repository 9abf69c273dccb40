"""The model and the batch that ranks divide between them, as one process has them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import initscope
from small import SMALL

FIELDS: dict[str, Any] = {**SMALL, "tied": False}


def batch(rows: int = 4) -> torch.Tensor:
    return torch.randint(97, (rows, 25), generator=torch.Generator().manual_seed(1))


def gpt(**fields: Any) -> nn.Module:
    return initscope.build(initscope.GPTConfig(**{**FIELDS, **fields}), "nanogpt", 0)
