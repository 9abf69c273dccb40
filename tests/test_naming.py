"""Names to sites: every project's names, fused and transposed matrices, and what is no GPT."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import pytest

from initscope.config import GPTConfig
from initscope.errors import MeasurementError, UsageError
from initscope.naming import Layout, Part, read_names
from initscope.rules import Site, config_for
from initscope.sites import all_parameters

D, FF, V = 32, 96, 80
ATTENTION, GATED = ("q", "k", "v", "attn_out"), ("mlp_gate", "mlp_up", "mlp_down")
PLAIN = ("mlp_up", "mlp_down")

# A block's matrices as each project names and shapes them; (d, ff) stand for D and FF.
BLOCKS: dict[str, tuple[str, dict[str, tuple[int, int]], tuple[str, ...]]] = {
    "nanoGPT": ("transformer.h.0.", {
        "attn.c_attn": (3 * D, D), "attn.c_proj": (D, D), "mlp.c_fc": (FF, D),
        "mlp.c_proj": (D, FF),
    }, PLAIN),
    "HF GPT-2, transposed": ("transformer.h.0.", {
        "attn.c_attn": (D, 3 * D), "attn.c_proj": (D, D), "mlp.c_fc": (D, FF),
        "mlp.c_proj": (FF, D),
    }, PLAIN),
    "GPT-NeoX": ("gpt_neox.layers.0.", {
        "attention.query_key_value": (3 * D, D), "attention.dense": (D, D),
        "mlp.dense_h_to_4h": (FF, D), "mlp.dense_4h_to_h": (D, FF),
    }, PLAIN),
    "BLOOM": ("transformer.h.0.", {
        "self_attention.query_key_value": (3 * D, D), "self_attention.dense": (D, D),
        "mlp.dense_h_to_4h": (FF, D), "mlp.dense_4h_to_h": (D, FF),
    }, PLAIN),
    "GPT-J": ("transformer.h.0.", {
        "attn.q_proj": (D, D), "attn.k_proj": (D, D), "attn.v_proj": (D, D),
        "attn.out_proj": (D, D), "mlp.fc_in": (FF, D), "mlp.fc_out": (D, FF),
    }, PLAIN),
    "OPT": ("model.decoder.layers.0.", {
        "self_attn.q_proj": (D, D), "self_attn.k_proj": (D, D), "self_attn.v_proj": (D, D),
        "self_attn.out_proj": (D, D), "fc1": (FF, D), "fc2": (D, FF),
    }, PLAIN),
    "Llama": ("model.layers.0.", {
        "self_attn.q_proj": (D, D), "self_attn.k_proj": (D // 2, D),
        "self_attn.v_proj": (D // 2, D), "self_attn.o_proj": (D, D), "mlp.gate_proj": (FF, D),
        "mlp.up_proj": (FF, D), "mlp.down_proj": (D, FF),
    }, GATED),
    "Phi-3": ("model.layers.0.", {
        "self_attn.qkv_proj": (2 * D, D), "self_attn.o_proj": (D, D),
        "mlp.gate_up_proj": (2 * FF, D), "mlp.down_proj": (D, FF),
    }, GATED),
    "OLMo": ("model.transformer.blocks.0.", {
        "att_proj": (3 * D, D), "attn_out": (D, D), "ff_proj": (2 * FF, D), "ff_out": (D, FF),
    }, GATED),
    "torchtitan": ("layers.0.", {
        "attention.wq": (D, D), "attention.wk": (D, D), "attention.wv": (D, D),
        "attention.wo": (D, D), "feed_forward.w1": (FF, D), "feed_forward.w2": (D, FF),
        "feed_forward.w3": (FF, D),
    }, GATED),
    "litgpt": ("transformer.h.0.", {
        "attn.qkv": (2 * D, D), "attn.proj": (D, D), "mlp.fc_1": (FF, D), "mlp.fc_2": (FF, D),
        "mlp.proj": (D, FF),
    }, GATED),
    "Megatron-LM, not gated": ("decoder.layers.0.", {
        "self_attention.linear_qkv": (3 * D, D), "self_attention.linear_proj": (D, D),
        "mlp.linear_fc1": (FF, D), "mlp.linear_fc2": (D, FF),
    }, PLAIN),
    "nanochat": ("_orig_mod.transformer.h.0.", {
        "attn.c_q": (D, D), "attn.c_k": (D, D), "attn.c_v": (D, D), "attn.c_proj": (D, D),
        "mlp.c_fc": (FF, D), "mlp.c_proj": (D, FF),
    }, PLAIN),
    "MPT": ("transformer.blocks.0.", {
        "attn.Wqkv": (3 * D, D), "attn.out_proj": (D, D), "ffn.up_proj": (FF, D),
        "ffn.down_proj": (D, FF),
    }, PLAIN),
}  # fmt: skip


def layout(shapes: Mapping[str, tuple[int, ...]], **options: int) -> Layout:
    return read_names({"wte.weight": (V, D), **shapes}, **options)


@pytest.mark.parametrize("project", BLOCKS)
def test_every_project_is_read_into_the_same_roles(project: str) -> None:
    prefix, matrices, mlp = BLOCKS[project]
    found = layout({f"{prefix}{name}.weight": dims for name, dims in matrices.items()})
    assert found.unmapped == ()
    sites = {named.label: named.site for named in found.parameters if named.site.layer == 0}
    assert sorted(sites) == sorted([*ATTENTION, *mlp])
    assert (found.shape.n_embd, found.shape.d_ff, found.shape.vocab_size) == (D, FF, V)
    assert found.shape.gated == ("mlp_gate" in mlp)
    for role, site in sites.items():
        assert (site.role, site.module) == (role, role)
        assert site.fan_in == (FF if role == "mlp_down" else D)
    total = sum(sites[role].fan_out for role in ATTENTION[:3])
    assert total == sum(
        math.prod(dims) // D for name, dims in matrices.items()
        if any(part in name for part in ("attn", "att", "qkv", "query"))
    ) - D  # fmt: skip


def parts(found: Layout) -> dict[str, Part | None]:
    return {named.label: named.part for named in found.parameters if named.site.layer == 0}


def test_a_fused_matrix_is_cut_where_its_roles_meet() -> None:
    found = parts(layout({"h.0.attn.c_attn.weight": (3 * D, D)}))
    assert found == {
        "q": Part(0, 1, 0, D),
        "k": Part(0, 1, D, 2 * D),
        "v": Part(0, 1, 2 * D, 3 * D),
    }
    transposed = parts(layout({"h.0.attn.c_attn.weight": (D, 3 * D)}))
    assert transposed["k"] == Part(1, 1, D, 2 * D)
    bias = layout({"h.0.attn.c_attn.weight": (D, 3 * D), "h.0.attn.c_attn.bias": (3 * D,)})
    assert parts(bias)["v.bias"] == Part(0, 1, 2 * D, 3 * D)


def test_queries_that_alternate_by_head_are_taken_head_by_head() -> None:
    shapes = {"layers.0.attention.query_key_value.weight": (3 * D, D)}
    assert parts(layout(shapes, n_head=4))["k"] == Part(0, 4, 8, 16)
    assert parts(layout(shapes, n_head=1))["k"] == Part(0, 1, D, 2 * D)


def test_fewer_keys_than_queries() -> None:
    found = parts(layout({
        "h.0.attn.qkv.weight": (D + 16, D), "h.0.attn.proj.weight": (D, D),
    }))  # fmt: skip
    assert [found[role] for role in "qkv"] == [
        Part(0, 1, 0, D), Part(0, 1, D, D + 8), Part(0, 1, D + 8, D + 16),
    ]  # fmt: skip


@pytest.mark.parametrize("rule", ["nanogpt", "neox", "tinyllama", "megatron"])
def test_our_own_names_lead_to_our_own_sites(rule: str) -> None:
    config = config_for(rule, n_layer=2, n_embd=64, n_head=4, vocab_size=99, block_size=48)
    where = {-1: "embedding", config.n_layer: "unembedding"}
    ours = {
        f"{where.get(p.site.layer, f'blocks.{p.site.layer}')}.{p.path}": p
        for p in all_parameters(config)
    }
    found = read_names({name: p.shape for name, p in ours.items()}, n_head=4)
    assert found.unmapped == ()
    assert {n.name: (n.label, n.site) for n in found.parameters} == {
        name: (p.label, _comparable(p.site, p.label)) for name, p in ours.items()
    }
    assert found.shape.heads_from == "given"
    assert found.shape.bias == config.bias
    assert found.shape.untied != config.tied


def _comparable(site: Site, label: str) -> Site:
    return dataclasses.replace(site, module=label.removesuffix(".bias"))


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("h.0.attn.bias", (1, 1, 16, 16)),
        ("h.0.attn.masked_bias", ()),
        ("layers.0.attention.rotary_emb.inv_freq", (4,)),
    ],
)
def test_masks_and_rotations_are_passed_over(name: str, dims: tuple[int, ...]) -> None:
    found = layout({"h.0.attn.c_attn.weight": (3 * D, D), name: dims})
    assert found.unmapped == ()


def test_what_has_no_role_is_named() -> None:
    experts = ("layers.0.mlp.experts.down_proj", (8, D, FF))
    found = layout({"layers.0.attention.wq.weight": (D, D), experts[0]: experts[1],
                    "layers.0.mlp.gate.weight": (8, D)})  # fmt: skip
    assert found.unmapped == (experts[0], "layers.0.mlp.gate.weight")


def test_layers_that_are_not_there_are_named() -> None:
    found = layout({f"layers.{layer}.attention.wq.weight": (D, D) for layer in (0, 3)})
    assert (found.shape.n_layer, found.missing) == (4, (1, 2))


def test_heads_come_from_where_they_are_known() -> None:
    shapes = {
        "layers.0.self_attn.q_proj.weight": (D, D),
        "layers.0.self_attn.o_proj.weight": (D, D),
    }
    normed = {**shapes, "layers.0.self_attn.q_norm.weight": (4,)}
    for more, options, expected in [
        (shapes, {}, (1, "width")), (shapes, {"n_head": 2}, (2, "given")),
        (shapes, {"saved_heads": 4}, (4, "saved")), (normed, {}, (8, "q_norm")),
        (normed, {"n_head": 2, "saved_heads": 4}, (2, "given")),
    ]:  # fmt: skip
        shape = layout(more, **options).shape  # type: ignore[arg-type]
        assert (shape.n_head, shape.heads_from) == expected
    with pytest.raises(UsageError, match=r"width 32 .* not a multiple of --n-head 5"):
        layout(shapes, n_head=5)


def test_an_embedding_narrower_than_the_stream_is_not_its_width() -> None:
    found = layout({
        "layers.0.self_attn.q_proj.weight": (2 * D, 2 * D), "layers.0.fc1.weight": (FF, 2 * D),
    })  # fmt: skip
    assert found.shape.n_embd == 2 * D


@pytest.mark.parametrize(
    "shapes",
    [{}, {"features.0.weight": (64, 3, 11, 11), "classifier.weight": (10, 64)},
     {"wte.weight": (V, D)}, {"h.0.ln_1.weight": (D,)}],
)  # fmt: skip
def test_what_is_no_gpt_is_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(MeasurementError, match="no block of a GPT is among"):
        read_names(shapes)


def test_matrices_without_a_common_width_are_refused() -> None:
    with pytest.raises(MeasurementError, match="share no width"):
        read_names({"h.0.attn.q_proj.weight": (8, 9), "h.0.mlp.fc1.weight": (10, 11)})


def test_the_site_of_a_rule_is_that_of_our_own_model() -> None:
    config = GPTConfig(n_layer=1, n_embd=64, vocab_size=10)
    found = read_names({"blocks.0.q.weight": (64, 64), "embedding.wte.weight": (10, 64)})
    assert found.shape.n_head == config.n_head
