"""The same parameters, drawn by Hugging Face's models and init functions, built from a config."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from torch import Tensor, nn

from elsewhere import RESIDUAL, Init, Source, Weights, filled
from initscope.config import GPTConfig
from initscope.rules import Site

Named = dict[str, Tensor]


def module(name: str) -> Any:
    """Import one model's module of transformers, and no more of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on import
        pytest.importorskip("transformers", exc_type=ImportError)
        return import_module(f"transformers.models.{name}.modeling_{name}")


def linear(name: str, part: Any) -> Named:
    """Name a layer's weight and bias as a GPT's block does; Conv1D holds its weight transposed."""
    weight = part.weight.T if type(part).__name__ == "Conv1D" else part.weight
    bias = getattr(part, "bias", None)
    return {name: weight} if bias is None else {name: weight, f"{name}.bias": bias}


def fused(part: Any) -> Named:
    """Split what maps to queries, keys and values at once."""
    named: Named = {}
    for name, whole in linear("", part).items():
        named |= {
            f"{letter}{name}": third for letter, third in zip("qkv", whole.chunk(3), strict=True)
        }
    return named


def named(**parts: Any) -> Named:
    merged: Named = {}
    for name, part in parts.items():
        merged |= fused(part) if name == "qkv" else linear(name, part)
    return merged


def gathered(
    blocks: Any, block: Callable[[Any], Named], before: Named, after: dict[str, Any]
) -> Weights:
    """Lay out a model's parameters by layer and label."""
    weights: Weights = {(-1, name): tensor for name, tensor in before.items()}
    for layer, one in enumerate(blocks):
        weights |= {(layer, name): tensor for name, tensor in block(one).items()}
    return weights | {(len(blocks), name): tensor for name, tensor in named(**after).items()}


def head(model: Any, config: GPTConfig) -> dict[str, Any]:
    return {} if config.tied else {"head": model.lm_head}


def gpt2_model(config: GPTConfig) -> Any:
    hf = module("gpt2")
    return hf.GPT2LMHeadModel(
        hf.GPT2Config(
            n_layer=config.n_layer, n_embd=config.n_embd, n_head=config.n_head,
            vocab_size=config.vocab_size, n_positions=config.block_size,
            tie_word_embeddings=config.tied, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        )
    )  # fmt: skip


def gpt2(config: GPTConfig) -> Weights:
    return gpt2_weights(gpt2_model(config), config)


def gpt2_weights(model: Any, config: GPTConfig) -> Weights:
    body = model.transformer
    return gathered(
        body.h,
        lambda one: named(
            norm_1=one.ln_1, qkv=one.attn.c_attn, attn_out=one.attn.c_proj, norm_2=one.ln_2,
            mlp_up=one.mlp.c_fc, mlp_down=one.mlp.c_proj,
        ),
        {"wte": body.wte.weight, "wpe": body.wpe.weight},
        {"norm_f": body.ln_f, **head(model, config)},
    )  # fmt: skip


def gpt_neox(config: GPTConfig) -> Weights:
    hf = module("gpt_neox")
    body = hf.GPTNeoXModel(
        hf.GPTNeoXConfig(
            num_hidden_layers=config.n_layer, hidden_size=config.n_embd,
            num_attention_heads=config.n_head, intermediate_size=config.d_ff,
            vocab_size=config.vocab_size,
        )
    )  # fmt: skip
    return gathered(
        body.layers,
        lambda one: named(
            norm_1=one.input_layernorm, qkv=one.attention.query_key_value,
            attn_out=one.attention.dense, norm_2=one.post_attention_layernorm,
            mlp_up=one.mlp.dense_h_to_4h, mlp_down=one.mlp.dense_4h_to_h,
        ),
        {"wte": body.embed_in.weight},
        {"norm_f": body.final_layer_norm},
    )  # fmt: skip


def gptj(config: GPTConfig) -> Weights:
    """GPT-J has one norm for both branches, and no bias in its attention."""
    hf = module("gptj")
    body = hf.GPTJModel(
        hf.GPTJConfig(
            n_layer=config.n_layer, n_embd=config.n_embd, n_head=config.n_head,
            vocab_size=config.vocab_size, rotary_dim=config.head_size,
        )
    )  # fmt: skip
    return gathered(
        body.h,
        lambda one: named(
            norm_1=one.ln_1, q=one.attn.q_proj, k=one.attn.k_proj, v=one.attn.v_proj,
            attn_out=one.attn.out_proj, mlp_up=one.mlp.fc_in, mlp_down=one.mlp.fc_out,
        ),
        {"wte": body.wte.weight},
        {"norm_f": body.ln_f},
    )  # fmt: skip


def opt(config: GPTConfig) -> Weights:
    """OPT's table of positions begins with two that no token has."""
    hf = module("opt")
    body = hf.OPTModel(
        hf.OPTConfig(
            num_hidden_layers=config.n_layer, hidden_size=config.n_embd, ffn_dim=config.d_ff,
            num_attention_heads=config.n_head, vocab_size=config.vocab_size, pad_token_id=None,
            max_position_embeddings=config.block_size, word_embed_proj_dim=config.n_embd,
        )
    ).decoder  # fmt: skip
    return gathered(
        body.layers,
        lambda one: named(
            norm_1=one.self_attn_layer_norm, q=one.self_attn.q_proj, k=one.self_attn.k_proj,
            v=one.self_attn.v_proj, attn_out=one.self_attn.out_proj, norm_2=one.final_layer_norm,
            mlp_up=one.fc1, mlp_down=one.fc2,
        ),
        {"wte": body.embed_tokens.weight, "wpe": body.embed_positions.weight[2:]},
        {"norm_f": body.final_layer_norm},
    )  # fmt: skip


def bloom(config: GPTConfig) -> Weights:
    """BLOOM, but for the norm after its embedding."""
    hf = module("bloom")
    body = hf.BloomModel(
        hf.BloomConfig(
            n_layer=config.n_layer, hidden_size=config.n_embd, n_head=config.n_head,
            vocab_size=config.vocab_size,
        )
    )  # fmt: skip
    return gathered(
        body.h,
        lambda one: named(
            norm_1=one.input_layernorm, qkv=one.self_attention.query_key_value,
            attn_out=one.self_attention.dense, norm_2=one.post_attention_layernorm,
            mlp_up=one.mlp.dense_h_to_4h, mlp_down=one.mlp.dense_4h_to_h,
        ),
        {"wte": body.word_embeddings.weight},
        {"norm_f": body.ln_f},
    )  # fmt: skip


def llama(config: GPTConfig) -> Weights:
    hf = module("llama")
    model = hf.LlamaForCausalLM(
        hf.LlamaConfig(
            num_hidden_layers=config.n_layer, hidden_size=config.n_embd,
            num_attention_heads=config.n_head, num_key_value_heads=config.n_kv_head,
            intermediate_size=config.d_ff, vocab_size=config.vocab_size,
            tie_word_embeddings=config.tied, pad_token_id=None,
        )
    )  # fmt: skip
    return gathered(
        model.model.layers,
        lambda one: named(
            norm_1=one.input_layernorm, q=one.self_attn.q_proj, k=one.self_attn.k_proj,
            v=one.self_attn.v_proj, attn_out=one.self_attn.o_proj,
            norm_2=one.post_attention_layernorm, mlp_gate=one.mlp.gate_proj,
            mlp_up=one.mlp.up_proj, mlp_down=one.mlp.down_proj,
        ),
        {"wte": model.model.embed_tokens.weight},
        {"norm_f": model.model.norm, **head(model, config)},
    )  # fmt: skip


def t5_model(config: GPTConfig) -> Any:
    """T5's decoder without an encoder: causal, and its positions zeroed, a GPT."""
    hf = module("t5")
    return hf.T5ForConditionalGeneration(
        hf.T5Config(
            num_layers=config.n_layer, d_model=config.n_embd, d_ff=config.d_ff,
            d_kv=config.head_size, num_heads=config.n_head, vocab_size=config.vocab_size,
            dropout_rate=0, pad_token_id=None,
        )
    )  # fmt: skip


def t5(config: GPTConfig) -> Weights:
    return t5_weights(t5_model(config))


def t5_weights(model: Any) -> Weights:
    body = model.decoder
    return gathered(
        body.block,
        lambda one: named(
            norm_1=one.layer[0].layer_norm, q=one.layer[0].SelfAttention.q,
            k=one.layer[0].SelfAttention.k, v=one.layer[0].SelfAttention.v,
            attn_out=one.layer[0].SelfAttention.o, norm_2=one.layer[-1].layer_norm,
            mlp_up=one.layer[-1].DenseReluDense.wi, mlp_down=one.layer[-1].DenseReluDense.wo,
        ),
        {"wte": body.embed_tokens.weight},
        {"norm_f": body.final_layer_norm},
    )  # fmt: skip


def small_init(config: GPTConfig) -> Weights:
    """GPT-NeoX's small_init, as transformers has it for xLSTM."""
    xlstm = module("xlstm")
    return filled(config, lambda site: _on(xlstm.small_init_method(site.n_embd)))


def wang_init(config: GPTConfig) -> Weights:
    """GPT-NeoX's small_init, and wang_init for what writes to the stream."""
    xlstm = module("xlstm")

    def choose(site: Site) -> Init:
        if site.role in RESIDUAL:
            return _on(xlstm.wang_init_method(site.n_layer, site.n_embd))
        return _on(xlstm.small_init_method(site.n_embd))

    return filled(config, choose)


def _on(method: Init) -> Init:
    return lambda tensor: method(nn.Parameter(tensor, requires_grad=False))


class Model(NamedTuple):
    """What draws, the rule it draws by, and the architecture where it is not the rule's own."""

    rule: str
    draw: Source
    fields: Mapping[str, Any] = MappingProxyType({})


LLAMA = {
    "norm_kind": "rmsnorm", "activation": "swiglu", "positions": "rope", "bias": False,
    "tied": False, "n_kv_head": 2,
}  # fmt: skip
ROPE = {"positions": "rope"}

# Most of these draw N(0, 0.02) for loading, whatever their checkpoints were trained from.
MODELS: dict[str, Model] = {
    "gpt2": Model("nanogpt", gpt2),
    "gpt2, untied": Model("mingpt", gpt2),
    "gpt2, as Megatron": Model("megatron", gpt2),
    "gpt_neox": Model("nanogpt-flat", gpt_neox, ROPE),
    "gptj": Model("nanogpt-flat", gptj, ROPE),
    "opt": Model("nanogpt-flat", opt),
    "bloom": Model("nanogpt-flat", bloom, {"positions": "none"}),
    "llama": Model("nanogpt-flat", llama, LLAMA),
    "t5": Model("t5", t5, {"bias": False}),
    "small_init_method": Model("small-init", small_init),
    "wang_init_method": Model("neox", wang_init),
}
