"""What a model of Hugging Face transformers holds when it is built from a configuration.

Every linear layer and embedding gets N(0, 0.02), whatever the model was really trained from.
"""

from __future__ import annotations

import math

from initscope.rules.core import Multipliers, Rule
from initscope.rules.gaussian import RULES as GPT
from initscope.rules.gaussian import flat
from initscope.rules.llama import LLAMA
from initscope.rules.models import RULES as MODELS
from initscope.rules.small import RULES as SMALL

_ARCHITECTURES = {rule.name: rule.architecture for rule in (*GPT, *MODELS, *SMALL)}
_SUMMARY = (
    "N(0, 0.02) everywhere, attn_out and mlp_down too: transformers' default and not what the "
    "model was trained from; embeddings 0.02{}, norm gain 1, biases 0"
)
_SOURCE = (
    "huggingface/transformers modeling_utils.py PreTrainedModel._init_weights; models/{0}/"
    "modeling_{0}.py"
)

RULES = (
    Rule(
        name="hf-llama",
        summary=_SUMMARY.format(""),
        source=_SOURCE.format("llama"),
        draw=flat,
        architecture={**LLAMA, "norm_eps": 1e-6},
    ),
    Rule(
        name="hf-gpt-neox",
        summary=_SUMMARY.format(""),
        source=_SOURCE.format("gpt_neox"),
        draw=flat,
        architecture=_ARCHITECTURES["neox"],
    ),
    Rule(
        name="hf-gptj",
        summary=_SUMMARY.format(""),
        source=_SOURCE.format("gptj"),
        draw=flat,
        architecture=_ARCHITECTURES["gptj"],
    ),
    Rule(
        name="hf-bloom",
        summary=_SUMMARY.format(", then normed"),
        source=_SOURCE.format("bloom"),
        draw=flat,
        architecture=_ARCHITECTURES["bloom"],
    ),
    Rule(
        name="hf-gemma",
        summary=_SUMMARY.format(" times sqrt(n_embd) in the forward pass"),
        source=_SOURCE.format("gemma"),
        draw=flat,
        architecture=_ARCHITECTURES["gemma"],
        multipliers=lambda site: Multipliers(embed=math.sqrt(site.n_embd)),
    ),
)
