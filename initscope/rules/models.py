"""Fan-in draws of published models, with the factors in the forward pass that go with them."""

from __future__ import annotations

import math
from collections.abc import Callable

from initscope.rules.core import EMBEDDINGS, RESIDUAL, Draw, Multipliers, Rule, Site
from initscope.rules.fan import xavier_std
from initscope.rules.gaussian import STD, matrices, per_residual
from initscope.rules.small import small


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


def gptj(site: Site) -> Draw:
    """Haiku's truncated normal; the weights that write to the stream 2/(n_layer·sqrt(n_embd))."""
    if site.role in {"wte", "wpe"}:
        return Draw.truncated_normal(site.vocab_size**-0.5)
    if site.role in RESIDUAL:
        return Draw.truncated_normal(2 / site.n_layer / math.sqrt(site.n_embd))
    return Draw.truncated_normal(site.fan_in**-0.5)


def nanodo(site: Site) -> Draw:
    """Xavier's uniform; embeddings and an untied head 1/sqrt(n_embd)."""
    if site.role in EMBEDDINGS:
        return Draw.normal(site.n_embd**-0.5)
    return Draw.uniform(math.sqrt(3) * xavier_std(site))


def foundry(
    std: Callable[[Site], float], residual: Callable[[Site], float]
) -> Callable[[Site], Draw]:
    """One std for every matrix, times a factor for the weights that write to the stream."""
    return lambda site: Draw.normal(std(site) * (residual(site) if site.role in RESIDUAL else 1.0))


def llm_foundry(site: Site) -> Draw:
    """sqrt(2/fan_in), embeddings too, and GPT-2's division."""
    return Draw.normal(math.sqrt(2 / site.fan_in) * per_residual(site))


_FOUNDRY = "mosaicml/llm-foundry llmfoundry/models/utils/param_init_fns.py"

RULES = (
    Rule(
        name="palm",
        summary="N(0, 1/sqrt(fan_in)), logits times 1/sqrt(n_embd); embeddings N(0, 1), "
        "norm gain 1, biases 0",
        source="Chowdhery et al. 2022, arXiv 2204.02311, §2 and §5",
        draw=matrices(palm),
        architecture={
            "branches": "shared", "activation": "swiglu", "positions": "rope", "n_kv_head": 1,
        },
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
        name="gptj",
        summary="N(0, 1/sqrt(fan_in)) truncated at ±2 std; attn_out and mlp_down "
        "2/(n_layer·sqrt(n_embd)); embeddings 1/sqrt(vocab_size), norm gain 1, biases 0, of which "
        "its attention has none",
        source="kingoflolz/mesh-transformer-jax mesh_transformer/layers.py EmbeddingShard, "
        "TransformerLayerShard, ProjectionShard; transformer_shard.py (init_scale)",
        draw=matrices(gptj),
        architecture={
            "branches": "shared", "activation": "gelu_tanh", "positions": "rope",
            "rope_share": 0.25, "bias": True, "tied": False,
        },
    ),
    Rule(
        name="gemma",
        summary="N(0, 0.01) everywhere, embeddings times sqrt(n_embd) in the forward pass; norm "
        "gain 1, biases 0; the released code's, as what Gemma was trained from is unpublished",
        source="google-deepmind/gemma gemma/gm/nn/_layers.py, _modules.py Embedder.encode",
        draw=matrices(lambda _site: Draw.normal(0.01)),
        architecture={
            "norm_kind": "rmsnorm", "activation": "geglu", "positions": "rope", "norm_eps": 1e-6,
        },
        multipliers=lambda site: Multipliers(embed=math.sqrt(site.n_embd)),
    ),
    Rule(
        name="nanodo",
        summary="U(±sqrt(6/(fan_in+fan_out))); embeddings N(0, 1/sqrt(n_embd)), norm gain 1, "
        "biases 0",
        source="google-deepmind/nanodo nanodo/model.py DoConfig, TransformerDo",
        draw=matrices(nanodo),
        architecture={"activation": "gelu_tanh"},
    ),
    Rule(
        name="llm-foundry",
        summary="N(0, sqrt(2/fan_in)); attn_out and mlp_down /sqrt(2·n_layer); embeddings "
        "sqrt(2/n_embd), norm gain 1, biases 0",
        source=f"{_FOUNDRY} kaiming_normal_param_init_fn_, generic_param_init_fn_",
        draw=matrices(llm_foundry),
        architecture={"bias": True},
    ),
    Rule(
        name="llm-foundry-baseline",
        summary="N(0, 0.02); attn_out and mlp_down /sqrt(2·n_layer); embeddings 0.02, norm gain 1, "
        "biases 0; its init_std has no default",
        source=f"{_FOUNDRY} baseline_param_init_fn_",
        draw=matrices(foundry(lambda _site: STD, per_residual)),
        architecture={"bias": True},
    ),
    Rule(
        name="llm-foundry-small",
        summary="N(0, sqrt(2/(5·n_embd))); attn_out and mlp_down /sqrt(2·n_layer); embeddings "
        "sqrt(2/(5·n_embd)), norm gain 1, biases 0",
        source=f"{_FOUNDRY} small_param_init_fn_",
        draw=matrices(foundry(small, per_residual)),
        architecture={"bias": True},
    ),
    Rule(
        name="llm-foundry-neox",
        summary="N(0, sqrt(2/(5·n_embd))); attn_out and mlp_down that·sqrt(10)/n_layer; embeddings "
        "sqrt(2/(5·n_embd)), norm gain 1, biases 0",
        source=f"{_FOUNDRY} neox_param_init_fn_",
        draw=matrices(foundry(small, lambda site: math.sqrt(10) / site.n_layer)),
        architecture={"bias": True},
    ),
)  # fmt: skip
