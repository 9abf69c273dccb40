"""The same parameters, drawn by Hugging Face's models and init functions, built from a config."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from torch import Tensor, nn

from elsewhere import RESIDUAL, Init, Source, Weights, filled
from initscope.config import GPTConfig
from initscope.rules import Site


def module(name: str) -> Any:
    """Import one model's module of transformers, and no more of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on import
        pytest.importorskip("transformers", exc_type=ImportError)
        return import_module(f"transformers.models.{name}.modeling_{name}")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a model of transformers keeps what a GPT has, and what its config calls the sizes.

    ``block`` and ``outside`` map labels to dotted paths; ``qkv`` holds all three at once.
    """

    module: str
    model: str
    config: str
    sizes: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    blocks: str
    block: Mapping[str, str]
    outside: Mapping[str, str]

    def build(self, config: GPTConfig) -> Any:
        """Construct the model; it draws its own weights."""
        hf = module(self.module)
        sizes = {theirs: attrgetter(ours)(config) for theirs, ours in self.sizes.items()}
        return getattr(hf, self.model)(getattr(hf, self.config)(**sizes, **self.fixed))

    def weights(self, model: Any, config: GPTConfig) -> Weights:
        """Lay out a model's parameters by layer and label; they are its own, not copies."""
        found: Weights = {}
        for layer, block in enumerate(attrgetter(self.blocks)(model)):
            for label, path in self.block.items():
                found |= {(layer, k): v for k, v in named(label, attrgetter(path)(block)).items()}
        for label, path in self.outside.items():
            layer = -1 if label in {"wte", "wpe"} else config.n_layer
            if label != "head" or not config.tied:
                part = attrgetter(path)(model)
                found |= {(layer, k): v for k, v in named(label, part).items()}
        return found

    def __call__(self, config: GPTConfig) -> Weights:
        return self.weights(self.build(config), config)


def named(label: str, part: Any) -> dict[str, Tensor]:
    """Name a layer's weight and bias as a GPT's block does; Conv1D holds its weight transposed."""
    weight = part.weight.T if type(part).__name__ == "Conv1D" else part.weight
    both = {"": weight, ".bias": getattr(part, "bias", None)}
    present = {suffix: whole for suffix, whole in both.items() if whole is not None}
    if label != "qkv":
        return {label + suffix: whole for suffix, whole in present.items()}
    return {
        letter + suffix: third
        for suffix, whole in present.items()
        for letter, third in zip("qkv", whole.chunk(3), strict=True)
    }


LONG = {
    "num_hidden_layers": "n_layer", "hidden_size": "n_embd", "num_attention_heads": "n_head",
    "vocab_size": "vocab_size",
}  # fmt: skip
SHORT = {"n_layer": "n_layer", "n_embd": "n_embd", "n_head": "n_head", "vocab_size": "vocab_size"}
NEOX_BLOCK = {
    "norm_1": "input_layernorm", "norm_2": "post_attention_layernorm",
    "mlp_up": "mlp.dense_h_to_4h", "mlp_down": "mlp.dense_4h_to_h",
}  # fmt: skip
Q_K_V = {letter: f"self_attn.{letter}_proj" for letter in "qkv"}

GPT2 = Layout(
    module="gpt2", model="GPT2LMHeadModel", config="GPT2Config",
    sizes={**SHORT, "n_positions": "block_size", "tie_word_embeddings": "tied"},
    fixed={"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0},
    blocks="transformer.h",
    block={
        "norm_1": "ln_1", "qkv": "attn.c_attn", "attn_out": "attn.c_proj", "norm_2": "ln_2",
        "mlp_up": "mlp.c_fc", "mlp_down": "mlp.c_proj",
    },
    outside={
        "wte": "transformer.wte", "wpe": "transformer.wpe", "norm_f": "transformer.ln_f",
        "head": "lm_head",
    },
)  # fmt: skip
GPT_NEOX = Layout(
    module="gpt_neox", model="GPTNeoXModel", config="GPTNeoXConfig",
    sizes={**LONG, "intermediate_size": "d_ff"}, blocks="layers",
    block={
        "qkv": "attention.query_key_value", "attn_out": "attention.dense", **NEOX_BLOCK
    },
    outside={"wte": "embed_in", "norm_f": "final_layer_norm"},
)  # fmt: skip
GPTJ = Layout(  # one norm for both branches, and no bias in its attention
    module="gptj", model="GPTJModel", config="GPTJConfig",
    sizes={**SHORT, "rotary_dim": "head_size"}, blocks="h",
    block={
        "norm_1": "ln_1", "q": "attn.q_proj", "k": "attn.k_proj", "v": "attn.v_proj",
        "attn_out": "attn.out_proj", "mlp_up": "mlp.fc_in", "mlp_down": "mlp.fc_out",
    },
    outside={"wte": "wte", "norm_f": "ln_f"},
)  # fmt: skip
OPT = Layout(  # its table of positions has two more, and another shape than ours
    module="opt", model="OPTModel", config="OPTConfig",
    sizes={**LONG, "ffn_dim": "d_ff", "word_embed_proj_dim": "n_embd"},
    fixed={"pad_token_id": None}, blocks="decoder.layers",
    block={
        "norm_1": "self_attn_layer_norm", **Q_K_V, "attn_out": "self_attn.out_proj",
        "norm_2": "final_layer_norm", "mlp_up": "fc1", "mlp_down": "fc2",
    },
    outside={"wte": "decoder.embed_tokens", "norm_f": "decoder.final_layer_norm"},
)  # fmt: skip
BLOOM = Layout(  # but for the norm after its embedding
    module="bloom", model="BloomModel", config="BloomConfig",
    sizes={"n_layer": "n_layer", "hidden_size": "n_embd", "n_head": "n_head",
           "vocab_size": "vocab_size"}, blocks="h",
    block={
        "qkv": "self_attention.query_key_value", "attn_out": "self_attention.dense", **NEOX_BLOCK
    },
    outside={"wte": "word_embeddings", "norm_f": "ln_f"},
)  # fmt: skip
LLAMA = Layout(
    module="llama", model="LlamaForCausalLM", config="LlamaConfig",
    sizes={**LONG, "intermediate_size": "d_ff", "num_key_value_heads": "n_kv_head",
           "tie_word_embeddings": "tied"},
    fixed={"pad_token_id": None}, blocks="model.layers",
    block={
        "norm_1": "input_layernorm", **Q_K_V, "attn_out": "self_attn.o_proj",
        "norm_2": "post_attention_layernorm", "mlp_gate": "mlp.gate_proj",
        "mlp_up": "mlp.up_proj", "mlp_down": "mlp.down_proj",
    },
    outside={"wte": "model.embed_tokens", "norm_f": "model.norm", "head": "lm_head"},
)  # fmt: skip
T5 = Layout(  # its decoder; layer.1 of a block attends to the encoder, and is left out
    module="t5", model="T5ForConditionalGeneration", config="T5Config",
    sizes={"num_layers": "n_layer", "d_model": "n_embd", "d_ff": "d_ff", "d_kv": "head_size",
           "num_heads": "n_head", "vocab_size": "vocab_size"},
    fixed={"dropout_rate": 0, "pad_token_id": None}, blocks="decoder.block",
    block={
        "norm_1": "layer.0.layer_norm", **{q: f"layer.0.SelfAttention.{q}" for q in "qkv"},
        "attn_out": "layer.0.SelfAttention.o", "norm_2": "layer.2.layer_norm",
        "mlp_up": "layer.2.DenseReluDense.wi", "mlp_down": "layer.2.DenseReluDense.wo",
    },
    outside={"wte": "decoder.embed_tokens", "norm_f": "decoder.final_layer_norm"},
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


_LLAMA = {
    "norm_kind": "rmsnorm", "activation": "swiglu", "positions": "rope", "bias": False,
    "tied": False, "n_kv_head": 2,
}  # fmt: skip
_NO_TABLE = {"positions": "rope"}

# Those of nanogpt-flat draw N(0, 0.02) to be loaded, whatever their checkpoints began from.
MODELS: dict[str, Model] = {
    "gpt2": Model("nanogpt", GPT2),
    "gpt2, untied": Model("mingpt", GPT2),
    "gpt2, as Megatron": Model("megatron", GPT2),
    "gpt_neox": Model("nanogpt-flat", GPT_NEOX, _NO_TABLE),
    "gptj": Model("nanogpt-flat", GPTJ, _NO_TABLE),
    "opt": Model("nanogpt-flat", OPT, _NO_TABLE),
    "bloom": Model("nanogpt-flat", BLOOM, _NO_TABLE),
    "llama": Model("nanogpt-flat", LLAMA, _LLAMA),
    "t5": Model("t5", T5, {"bias": False}),
    "small_init_method": Model("small-init", small_init),
    "wang_init_method": Model("neox", wang_init),
}
