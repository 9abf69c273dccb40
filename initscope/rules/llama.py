"""Decoders after Llama: RMSNorm, SwiGLU, rotary positions, no biases, a head of its own.

Meta has not published Llama's own initialisation; these are of projects that train such models.
"""

from __future__ import annotations

from collections.abc import Callable

from initscope.rules.core import RESIDUAL, Draw, Rule, Site
from initscope.rules.gaussian import STD, matrices, per_residual

LLAMA = {"norm_kind": "rmsnorm", "activation": "swiglu", "positions": "rope", "tied": False}
CUT = 3.0  # standard deviations, where OLMo and torchtitan's head are truncated


def by_layer(site: Site) -> float:
    """1/sqrt(2·(layer + 1)): each block scaled by its own depth."""
    return (2 * (site.layer + 1)) ** -0.5


def truncated(std: float) -> Draw:
    """N(0, std) truncated at ±3 std."""
    return Draw.truncated_normal(std, cut=CUT)


def torchtitan_llama3(site: Site) -> Draw:
    """Scale what multiplies the gate as well as what writes to the stream.

    The source truncates at ±2, a hundred standard deviations: that is a normal.
    """
    if site.role in {"wte", "wpe"}:
        return Draw.normal(1.0)
    if site.role == "head":
        return truncated(site.n_embd**-0.5)
    scaled = site.role in RESIDUAL | {"mlp_up"}
    return Draw.normal(STD * by_layer(site) if scaled else STD)


def olmo_mitchell(site: Site) -> Draw:
    """1/sqrt(fan_in); for the weights that write to the stream, by layer too."""
    factor = by_layer(site) if site.role in RESIDUAL else 1.0
    return truncated(site.fan_in**-0.5 * factor)


def olmo_megatron(site: Site) -> Draw:
    """Megatron's draw, truncated, with a head of 1/sqrt(n_embd)."""
    return truncated(site.n_embd**-0.5 if site.role == "head" else STD * per_residual(site))


def olmo_core_llama(scale: Callable[[Site], float]) -> Callable[[Site], Draw]:
    """Scale what multiplies the gate and what writes to the stream, all truncated at ±3 std."""

    def draw(site: Site) -> Draw:
        if site.role in {"wte", "wpe"}:
            return Draw.normal(1.0)
        if site.role == "head":
            return truncated(site.n_embd**-0.5)
        return truncated(STD * scale(site) if site.role in RESIDUAL | {"mlp_up"} else STD)

    return draw


def olmo_fan_in(site: Site) -> Draw:
    """1/sqrt(fan_in), truncated; the embedding is N(0, 1)."""
    if site.role in {"wte", "wpe"}:
        return Draw.normal(1.0)
    return truncated(site.fan_in**-0.5)


RULES = (
    Rule(
        name="torchtitan-llama3",
        summary="N(0, 0.02); attn_out, mlp_up and mlp_down 0.02/sqrt(2·(layer+1)), head "
        "1/sqrt(n_embd) truncated at ±3 std; embeddings N(0, 1), norm gain 1, biases 0",
        source="pytorch/torchtitan models/llama3/__init__.py; common/param_init.py "
        "depth_scaled_std",
        draw=matrices(torchtitan_llama3),
        architecture=LLAMA,
    ),
    Rule(
        name="olmo-normal",
        summary="N(0, 0.02) truncated at ±3 std, attn_out and mlp_down too; embeddings alike, "
        "norm gain 1, biases 0",
        source="allenai/OLMo olmo/model.py reset_parameters (init_fn: normal)",
        draw=matrices(lambda _site: truncated(STD)),
        architecture=LLAMA,
    ),
    Rule(
        name="olmo2",
        summary="N(0, 0.02) truncated at ±3 std, attn_out and mlp_down too; a norm on what each "
        "branch adds and none on what it reads, and one on q and k (here by head); embeddings "
        "alike, norm gain 1, biases 0",
        source="allenai/OLMo olmo/model.py reset_parameters (init_fn: normal), "
        "OLMoSequentialBlock (norm_after); configs/official-1124/OLMo2-7B-stage1.yaml",
        draw=matrices(lambda _site: truncated(STD)),
        architecture={
            **LLAMA, "norm": "output", "qk_norm": True, "rope_theta": 500_000.0, "norm_eps": 1e-6,
        },
    ),
    Rule(
        name="olmo-mitchell",
        summary="N(0, 1/sqrt(fan_in)) truncated at ±3 std; attn_out and mlp_down "
        "/sqrt(2·(layer+1)); embeddings 1/sqrt(n_embd), norm gain 1, biases 0",
        source="allenai/OLMo olmo/model.py reset_parameters (init_fn: mitchell)",
        draw=matrices(olmo_mitchell),
        architecture={**LLAMA, "norm_kind": "layernorm"},
    ),
    Rule(
        name="olmo-megatron",
        summary="N(0, 0.02) truncated at ±3 std; attn_out and mlp_down /sqrt(2·n_layer), head "
        "1/sqrt(n_embd); embeddings 0.02, norm gain 1, biases 0",
        source="allenai/OLMo olmo/model.py reset_parameters (init_fn: full_megatron)",
        draw=matrices(olmo_megatron),
        architecture=LLAMA,
    ),
    Rule(
        name="olmo-core-llama",
        summary="N(0, 0.02) truncated at ±3 std; attn_out, mlp_up and mlp_down /sqrt(2·n_layer), "
        "head 1/sqrt(n_embd); embeddings N(0, 1), norm gain 1, biases 0",
        source="allenai/OLMo-core src/olmo_core/nn/transformer/init.py InitMethod.llama",
        draw=matrices(olmo_core_llama(lambda site: (2 * site.n_layer) ** -0.5)),
        architecture=LLAMA,
    ),
    Rule(
        name="olmo-core-llama-depth",
        summary="N(0, 0.02) truncated at ±3 std; attn_out, mlp_up and mlp_down /sqrt(2·(layer+1)), "
        "head 1/sqrt(n_embd); embeddings N(0, 1), norm gain 1, biases 0",
        source="allenai/OLMo-core src/olmo_core/nn/transformer/init.py InitMethod.llama_depth",
        draw=matrices(olmo_core_llama(by_layer)),
        architecture=LLAMA,
    ),
    Rule(
        name="deepseek",
        summary="N(0, 0.006) everywhere, attn_out and mlp_down too; embeddings alike, norm gain 1, "
        "biases 0; without its experts and latent attention",
        source="DeepSeek-AI 2024, arXiv 2412.19437, §4.2; the released code says 0.02",
        draw=matrices(lambda _site: Draw.normal(0.006)),
        architecture=LLAMA,
    ),
    Rule(
        name="olmo-fan-in",
        summary="N(0, 1/sqrt(fan_in)) truncated at ±3 std; embeddings N(0, 1), norm gain 1, "
        "biases 0",
        source="allenai/OLMo-core src/olmo_core/nn/transformer/init.py InitMethod.fan_in",
        draw=matrices(olmo_fan_in),
        architecture=LLAMA,
    ),
)  # fmt: skip
