"""Models of transformers, built from a configuration: their names, and the rule they follow."""

from __future__ import annotations

from typing import Any

import pytest

from initscope import identify
from initscope.origin import words

transformers = pytest.importorskip("transformers", reason="needs transformers")

LAYERS, WIDTH, HEADS, INNER, VOCAB = 3, 64, 4, 160, 300
IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "vocab_size": VOCAB}
GPT2: dict[str, Any] = {
    "n_layer": LAYERS, "n_embd": WIDTH, "n_head": HEADS, "n_positions": 128,
    "n_inner": INNER, **IDS,
}  # fmt: skip
LLAMA: dict[str, Any] = {
    "num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS,
    "intermediate_size": INNER, **IDS,
}  # fmt: skip
GROUPED = {**LLAMA, "num_key_value_heads": 2}
OPT = {
    **LLAMA, "ffn_dim": INNER, "word_embed_proj_dim": WIDTH, "max_position_embeddings": 128,
}  # fmt: skip
BLOOM = {"n_layer": LAYERS, "hidden_size": WIDTH, "n_head": HEADS, **IDS}
ROTARY = {**GPT2, "rotary_dim": 8}

# The configuration, and whether c_proj is divided by sqrt(2·n_layer): GPT-2's family alone does.
MODELS: dict[str, tuple[dict[str, Any], bool]] = {
    "GPT2": (GPT2, True), "GPTBigCode": (GPT2, True),
    "GPTNeoX": (LLAMA, False), "GPTJ": (ROTARY, False), "CodeGen": (ROTARY, False),
    "OPT": (OPT, False), "Bloom": (BLOOM, False), "Falcon": (LLAMA, False),
    "Llama": (GROUPED, False), "Mistral": (GROUPED, False), "Qwen2": (GROUPED, False),
    "Qwen3": ({**GROUPED, "head_dim": 16}, False), "Gemma": ({**GROUPED, "head_dim": 32}, False),
    "Gemma2": ({**GROUPED, "head_dim": 32}, False), "Olmo": (LLAMA, False),
    "Olmo2": (LLAMA, False), "Phi": (LLAMA, False), "Phi3": (GROUPED, False),
}  # fmt: skip


def build(name: str, fields: dict[str, Any], **more: Any) -> Any:
    transformers.set_seed(0)
    config = getattr(transformers, f"{name}Config")(**fields, **more)
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("name", MODELS)
def test_models_are_read_whole_and_their_rule_is_found(name: str) -> None:
    fields, scaled = MODELS[name]
    model = build(name, fields)
    found = identify(model)
    assert not [n for n in found.layout.unmapped if "project_" not in n]
    shape = found.layout.shape
    assert (shape.n_layer, shape.n_embd, shape.n_head) == (LAYERS, WIDTH, HEADS)
    assert shape.heads_from in {"saved", "q_norm"}
    assert found.tied == bool(model.config.tie_word_embeddings)
    assert ("nanogpt" if scaled else "nanogpt-flat") in found.fits, words.headline(found)
    assert ("nanogpt-flat" if scaled else "nanogpt") not in found.fits


@pytest.mark.parametrize("name", ["GPT2", "GPTNeoX", "Llama", "Phi3"])
def test_another_initializer_range_is_one_factor(name: str) -> None:
    found = identify(build(name, MODELS[name][0], initializer_range=0.013))
    assert not found.fits
    assert found.rescaled is not None
    (query,) = (group for group in found.groups if group.label == "q")
    std = found.rescaled.rules[0].draw(query.members[0].named.site).std
    assert found.rescaled.factor * std == pytest.approx(0.013, rel=0.01)
    assert "with every std ×" in words.headline(found)


def test_a_model_saved_and_loaded_by_its_folder(tmp_path: Any) -> None:
    pytest.importorskip("safetensors")
    model = build("GPT2", GPT2)
    model.save_pretrained(tmp_path, max_shard_size="100kB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    found = identify(tmp_path)
    assert "nanogpt" in found.fits
    assert (found.layout.shape.n_head, found.layout.shape.heads_from) == (HEADS, "saved")
    assert found.tied
