"""What a model of Hugging Face transformers holds when it is built from a configuration.

Every linear layer and embedding gets N(0, 0.02), whatever the model was really trained from.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from initscope.rules.core import Multipliers, Rule
from initscope.rules.gaussian import RULES as GPT
from initscope.rules.gaussian import flat
from initscope.rules.llama import LLAMA
from initscope.rules.models import RULES as MODELS
from initscope.rules.small import RULES as SMALL

_ARCHITECTURES = {rule.name: rule.architecture for rule in (*GPT, *MODELS, *SMALL)}


def _rule(model: str, architecture: Mapping[str, Any], embeddings: str = "") -> Rule:
    """Say where a model's code is, what architecture it has, and what embeddings get besides."""
    file = model.replace("-", "_")
    return Rule(
        name=f"hf-{model}",
        summary="N(0, 0.02) everywhere, attn_out and mlp_down too: transformers' default and not "
        f"what the model was trained from; embeddings 0.02{embeddings}, norm gain 1, biases 0",
        source="huggingface/transformers modeling_utils.py PreTrainedModel._init_weights; "
        f"models/{file}/modeling_{file}.py",
        draw=flat,
        architecture=architecture,
    )


RULES = (
    _rule("llama", {**LLAMA, "norm_eps": 1e-6}),
    _rule("gpt-neox", _ARCHITECTURES["neox"]),
    _rule("gptj", _ARCHITECTURES["gptj"]),
    _rule("bloom", _ARCHITECTURES["bloom"], ", then normed"),
    dataclasses.replace(
        _rule("gemma", _ARCHITECTURES["gemma"], " times sqrt(n_embd) in the forward pass"),
        multipliers=lambda site: Multipliers(embed=math.sqrt(site.n_embd)),
    ),
)
