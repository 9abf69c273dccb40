"""A small model to stream, and token ids for it."""

from __future__ import annotations

from typing import Any

import torch

from initscope.config import GPTConfig
from initscope.construction import Allocation
from initscope.plan import Plan
from initscope.rules import get_rule

SMALL: dict[str, Any] = {
    "n_layer": 3, "n_embd": 48, "n_head": 4, "vocab_size": 97, "block_size": 32,
}  # fmt: skip


def ids(batch: int = 2, length: int = 25, vocab: int = 97) -> torch.Tensor:
    """Draw token ids (batch, length), always the same."""
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(1))


def plan(rule: str = "nanogpt", **fields: Any) -> Plan:
    """Plan to measure a rule on :data:`SMALL`; ``fields`` change the shape or the plan."""
    extra = {name: fields.pop(name) for name in ("backward", "keep_bytes") if name in fields}
    config = GPTConfig(**{**SMALL, **fields})
    return Plan(config=config, rule=get_rule(rule), allocation=Allocation(), **extra)
