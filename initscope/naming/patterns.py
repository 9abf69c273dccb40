"""The one table of names: what GPTs call their modules, and which roles those play.

A module's name is looked up without what wraps it (``_orig_mod.``, ``module.``, ``model.``,
``transformer.``). A fused matrix plays several roles, in the order of its outputs.

Read from: karpathy/nanoGPT, minGPT and nanochat; huggingface/transformers (gpt2, gpt_neo, gptj,
gpt_neox, opt, bloom, falcon, mpt, llama, mistral, qwen2, qwen3, gemma, gemma2, olmo, olmo2, phi,
phi3, glm, codegen, starcoder2); allenai/OLMo and OLMo-core; pytorch/torchtitan; meta-llama/llama;
Lightning-AI/litgpt; NVIDIA/Megatron-LM; facebookresearch/fairseq; nn.TransformerEncoderLayer.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Roles(NamedTuple):
    """What a module's matrix plays, in the order of its outputs.

    ``by_head``: whether queries, keys and values alternate from head to head.
    """

    names: tuple[str, ...]
    by_head: bool = False


_Q, _K, _V, _OUT = Roles(("q",)), Roles(("k",)), Roles(("v",)), Roles(("attn_out",))
_QKV, _BY_HEAD = Roles(("q", "k", "v")), Roles(("q", "k", "v"), by_head=True)
_GATE, _UP, _DOWN = Roles(("mlp_gate",)), Roles(("mlp_up",)), Roles(("mlp_down",))
_GATE_UP, _UP_GATE = Roles(("mlp_gate", "mlp_up")), Roles(("mlp_up", "mlp_gate"))


def _names(table: dict[Roles, str]) -> dict[str, Roles]:
    return {name: roles for roles, names in table.items() for name in names.split()}


# --- inside a block: what holds the matrix, and how the matrix is called ---

_ATTENTION = "attn attention self_attn self_attention attn.attention"
_IN_ATTENTION = _names({
    _Q: "q q_proj wq w_q c_q query", _K: "k k_proj wk w_k c_k key", _V: "v v_proj wv w_v c_v value",
    _QKV: "c_attn qkv qkv_proj Wqkv wqkv in_proj",
    _BY_HEAD: "query_key_value linear_qkv attn",
    _OUT: "o o_proj out_proj c_proj proj dense wo w_out linear_proj",
})  # fmt: skip
_MLP = "mlp ffn feed_forward ff"
_IN_MLP = _names({
    _GATE: "gate_proj w1 fc_1",
    _UP: "c_fc fc fc1 fc_in fc_2 up_proj w3 dense_h_to_4h",
    _GATE_UP: "gate_up_proj linear_fc1",
    _DOWN: "c_proj proj down_proj fc2 fc_out w2 dense_4h_to_h linear_fc2",
})  # fmt: skip
_BARE = _names({
    _Q: "q", _K: "k", _V: "v", _QKV: "att_proj", _OUT: "attn_out",
    _GATE: "mlp_gate", _UP: "mlp_up fc1 linear1", _DOWN: "mlp_down fc2 linear2 ff_out",
    _UP_GATE: "ff_proj",  # OLMo's SwiGLU gates with the second half
})  # fmt: skip

IN_BLOCK = {
    **{f"{holder}.{name}": roles for holder in _ATTENTION.split()
       for name, roles in _IN_ATTENTION.items()},
    **{f"{holder}.{name}": roles for holder in _MLP.split() for name, roles in _IN_MLP.items()},
    **_BARE,
}  # fmt: skip

# --- outside the blocks: the last part of the name ---

OUTSIDE = _names({
    Roles(("wte",)): "wte embed_tokens embed_in word_embeddings tok_embeddings tok_emb "
    "token_embedding token_embeddings embeddings embedding embed",
    Roles(("wpe",)): "wpe embed_positions pos_emb pos_embed position_embedding position_embeddings",
    Roles(("head",)): "lm_head head output output_layer embed_out w_out ff_out",
})  # fmt: skip

BLOCK = re.compile(r"(?:^|\.)(?:h|layers|blocks)\.(?P<layer>\d+)\.(?P<rest>.+)$")
NORM = re.compile(r"norm|(?:^|_)ln(?:$|_|f|\d)")
PARAMETER = re.compile(r"(?P<module>.+)[._](?P<what>weight|bias)$")
# What models save beside their parameters: masks and rotation tables.
BUFFER = re.compile(
    r"(?:^|\.)(?:masked_bias|causal_mask|mask|position_ids|inv_freq|freqs_cis|cos|sin)$|\brotary|\brope"
    r"|\.\d+\.(?:attn|attention|attn\.attention)\.bias$"
)
