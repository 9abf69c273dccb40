"""Tiny models of the Hugging Face families, each built from a config without a network."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.families import SHAPES, build

FAMILIES = SHAPES


def family(name: str, **fields: Any) -> nn.Module:
    """Build a tiny model of a family; skips the test, visibly, without transformers."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    pytest.importorskip("transformers", reason="needs the extra hf")
    torch.manual_seed(0)
    return build(name, **fields)
