"""Tiny models of the Hugging Face families, each built from a config without a network."""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest
import torch
from torch import nn

_GPT = {"n_layer": 2, "n_embd": 32, "n_head": 4}
_BASE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}
_GROUPED = {
    **_BASE, "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64,
}  # fmt: skip
_HEAD = {"head_dim": 8}

FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {**_GPT, "n_positions": 64},
    "gpt_neox": {**_BASE, "intermediate_size": 64},
    "gptj": {**_GPT, "n_positions": 64, "rotary_dim": 4},
    "opt": {**_BASE, "ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 64},
    "bloom": {"n_layer": 2, "hidden_size": 32, "n_head": 4},
    "llama": _GROUPED,
    "mistral": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, **_HEAD},
    "gemma": {**_GROUPED, **_HEAD},
    "gemma2": {**_GROUPED, **_HEAD},
    "phi": _GROUPED,
    "phi3": _GROUPED,
    "olmo": _GROUPED,
    "olmo2": _GROUPED,
    "falcon": _BASE,
    "granite": {**_GROUPED, "residual_multiplier": 0.3},
    "mixtral": {**_GROUPED, "num_local_experts": 2},
    "mamba": {"num_hidden_layers": 2, "hidden_size": 32, "state_size": 4},
}


def family(name: str, **fields: Any) -> nn.Module:
    """Build a tiny model of a family; skips the test, visibly, without transformers."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    transformers.logging.set_verbosity_error()
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 1)
    given = {"vocab_size": 97, **ids, **FAMILIES[name], **fields}
    config = transformers.AutoConfig.for_model(name, **given)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.AutoModelForCausalLM.from_config(config).eval()
