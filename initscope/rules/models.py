"""Fan-in draws of published models, with the factors in the forward pass that go with them."""

from __future__ import annotations

import math

from initscope.rules.core import Draw, Multipliers, Rule, Site
from initscope.rules.gaussian import matrices, per_residual


def palm(site: Site) -> Draw:
    """1/sqrt(fan_in); embeddings of 1, as no norm follows them."""
    return Draw.normal(1.0 if site.role in {"wte", "wpe", "head"} else site.fan_in**-0.5)


def head_size(site: Site) -> int:
    """Width of one attention head."""
    return site.n_embd // site.n_head


def t5(site: Site) -> Draw:
    """As PaLM, but the query holds the 1/sqrt(head size) that its attention lacks."""
    factor = head_size(site) ** -0.5 if site.role == "q" else 1.0
    return Draw.normal(palm(site).scale * factor)


def llm_foundry(site: Site) -> Draw:
    """sqrt(2/fan_in), embeddings too, and GPT-2's division."""
    return Draw.normal(math.sqrt(2 / site.fan_in) * per_residual(site))


RULES = (
    Rule(
        name="palm",
        summary="N(0, 1/sqrt(fan_in)), logits times 1/sqrt(n_embd); embeddings N(0, 1), "
        "norm gain 1, biases 0; its blocks are parallel, these not",
        source="Chowdhery et al. 2022, arXiv 2204.02311, §2 and §5",
        draw=matrices(palm),
        architecture={"activation": "swiglu", "positions": "rope", "n_kv_head": 1},
        multipliers=lambda site: Multipliers(logits=site.n_embd**-0.5),
    ),
    Rule(
        name="t5",
        summary="N(0, 1/sqrt(fan_in)), q /sqrt(head size) for attention without it, logits times "
        "1/sqrt(n_embd); embeddings N(0, 1), norm gain 1, biases 0; no relative positions",
        source="huggingface/transformers models/t5/modeling_t5.py T5PreTrainedModel._init_weights; "
        "tensorflow/mesh mesh_tensorflow/transformer/attention.py init_weights",
        draw=matrices(t5),
        architecture={
            "norm_kind": "rmsnorm", "activation": "relu", "positions": "none", "norm_eps": 1e-6,
        },
        multipliers=lambda site: Multipliers(
            attention=math.sqrt(head_size(site)), logits=site.n_embd**-0.5
        ),
    ),
    Rule(
        name="llm-foundry",
        summary="N(0, sqrt(2/fan_in)); attn_out and mlp_down /sqrt(2·n_layer); embeddings "
        "sqrt(2/n_embd), norm gain 1, biases 0",
        source="mosaicml/llm-foundry llmfoundry/models/utils/param_init_fns.py "
        "kaiming_normal_param_init_fn_, generic_param_init_fn_",
        draw=matrices(llm_foundry),
        architecture={"bias": True},
    ),
)  # fmt: skip
