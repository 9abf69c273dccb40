"""Small designs, each solved for once."""

from __future__ import annotations

from functools import cache
from typing import Any

from initscope.config import GPTConfig
from initscope.designing import Design, Targets, design
from initscope.options import Options
from initscope.rules import config_for

OPTIONS = Options(seq_len=16, device="cpu")
ROUNDED = 2e-3  # what four digits of a std leave of a variance, and the solver's own


SIZES = {"n_layer": 6, "n_embd": 64, "n_head": 4, "vocab_size": 256, "block_size": 64}


def config(base: str = "nanogpt", **fields: Any) -> GPTConfig:
    return config_for(base, **{**SIZES, **fields})


@cache
def _made(base: str, shape: GPTConfig, targets: Targets) -> Design:
    return design(shape, base, targets, OPTIONS)


def made(base: str = "nanogpt", fields: dict[str, Any] | None = None, **targets: Any) -> Design:
    return _made(base, config(base, **(fields or {})), Targets(**targets))
