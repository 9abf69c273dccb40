"""Parts are found in models that nobody wrote for this: by what they compute, not by names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from families import FAMILIES, family
from initscope.anatomy import Anatomy, find, find_blocks
from initscope.anatomy.shape import shape
from initscope.config import GPTConfig
from initscope.construction import build
from initscope.errors import UsageError
from small import SMALL, ids
from users_gpt import Shared, users_gpt

SEQUENTIAL = {
    "resid_pre", "norm_1", "attn", "attn_out", "resid_mid", "norm_2", "mlp_up", "mlp_act",
    "mlp_down", "resid_post",
}  # fmt: skip
QKV = {"q", "k", "v"}
GATED = SEQUENTIAL | QKV | {"mlp_gate"}
PARALLEL = (SEQUENTIAL | QKV) - {"resid_mid", "norm_2"}

SITES: dict[str, set[str]] = {
    **dict.fromkeys(("gpt2", "opt", "bloom"), SEQUENTIAL | QKV),
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "phi3", "olmo", "granite"), GATED
    ),
    **dict.fromkeys(("gptj", "phi"), PARALLEL),
    "gpt_neox": PARALLEL | {"norm_2"},
    "falcon": PARALLEL - {"k", "v"},  # cut out of the projection by an index, not by strides
    "gemma2": GATED | {"norm_1_out", "norm_2_out"},
    "olmo2": (GATED - {"norm_1", "norm_2"}) | {"norm_1_out", "norm_2_out"},
    "mixtral": (SEQUENTIAL | QKV) - {"mlp_up", "mlp_act"},
    "mamba": {"resid_pre", "norm_1", "attn", "attn_out", "resid_post"},
}


def anatomy(model: nn.Module, tokens: Tensor | None = None, blocks: str = "") -> Anatomy:
    tokens = ids()[:, :-1] if tokens is None else tokens
    return find(model, lambda: model(tokens), tokens, blocks)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_parts_of_a_family(name: str) -> None:
    found = anatomy(family(name))
    assert found.n_layer == 2
    assert found.wte is not None
    assert found.norm_f is not None
    assert found.head is not None
    for part in found.parts:
        assert set(part.sites) == SITES[name]
        assert part.parallel == (SITES[name] <= PARALLEL | {"norm_2"} and name != "mamba")
    odd = {
        one.label
        for one in found.parameters
        if 0 <= one.layer < 2 and "." in one.label.removesuffix(".bias")
    }
    assert bool(odd) == (name in {"mixtral", "mamba"})  # experts, the scan


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "bloom", "phi3"])
def test_the_parts_of_a_fused_projection_are_those_that_attention_meets(name: str) -> None:
    """Cut by the strides found, the projection's output holds the very q, k and v."""
    model = family(name, **({"attn_implementation": "eager"} if name != "bloom" else {}))
    part = anatomy(model).parts[0]
    tap = {site: part.sites[site] for site in QKV}
    kept: dict[str, Tensor] = {}
    handle = tap["q"].module.register_forward_hook(lambda _m, _a, out: kept.update(out=out))
    model(ids()[:, :-1])
    handle.remove()
    cut = {site: one.view.of(kept["out"]) for site, one in tap.items() if one.view is not None}
    assert set(cut) == QKV
    assert sum(x.numel() for x in cut.values()) == kept["out"].numel()
    everything = torch.cat([x.flatten() for x in cut.values()]).sort().values
    torch.testing.assert_close(everything, kept["out"].flatten().sort().values, rtol=0, atol=0)


@pytest.mark.parametrize("fields", [{}, {"in_place": True}, {"fused_softmax": False}], ids=str)
def test_the_parts_of_a_users_model(fields: dict[str, Any]) -> None:
    found = anatomy(users_gpt(**fields))
    assert found.n_layer == 3
    assert found.tied
    for part in found.parts:
        assert set(part.sites) == SEQUENTIAL | QKV
        assert (part.norm, part.activation, part.n_head, part.d_ff) == ("pre", "gelu", 4, 192)
        assert part.factors == {"attn_out": 1.0, "mlp_down": 1.0}
    assert {one.label for one in found.parameters if one.layer == 1} == {
        "norm_1", "qkv", "attn_out", "norm_2", "mlp_up", "mlp_down",
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"norm": "post", "bias": True},
        {"norm": "sandwich", "norm_kind": "rmsnorm", "activation": "swiglu"},
        {"norm": "none", "activation": "relu2"},
        {"positions": "none", "tied": False, "activation": "geglu", "n_kv_head": 2},
    ],
    ids=str,
)
def test_our_own_model_is_described_as_it_is(fields: dict[str, Any]) -> None:
    config = GPTConfig(**{**SMALL, **fields})
    found = anatomy(build(config, "xavier"))
    assert shape(found, vocab_size=97, seq_len=32) == config


def test_factors_on_branch_and_skip_are_found() -> None:
    skip = (2 * 3) ** 0.25  # DeepNorm multiplies the stream by (2 n_layer)^(1/4)
    config = GPTConfig(**SMALL, norm="post")
    for model, factor in ((build(config, "deepnorm"), 1 / skip), (family("granite"), 0.3)):
        factors = anatomy(model).parts[1].factors
        assert factors == pytest.approx({"attn_out": factor, "mlp_down": factor}, rel=1e-4)


def test_a_block_that_runs_four_times_is_four_layers_with_one_set_of_weights() -> None:
    found = anatomy(Shared())
    assert found.n_layer == 4
    assert {one.layer for one in found.parameters if one.label == "mlp_down"} == {0}


def test_a_list_of_experts_is_not_the_stack() -> None:
    model = family("mixtral", num_local_experts=8)
    assert len(find_blocks(model)) == 2


def test_blocks_can_be_named() -> None:
    model = users_gpt()
    assert [path for path, _ in find_blocks(model, "transformer.h.*")] == [
        "transformer.h.0", "transformer.h.1", "transformer.h.2",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"did you mean 'transformer\.h\.\*'"):
        find_blocks(model, "transformer.hh.*")


def test_a_model_without_a_stack_is_refused_with_advice() -> None:
    with pytest.raises(UsageError, match=r"no stack of blocks was found.*--blocks"):
        find_blocks(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)))


def test_nothing_is_left_behind() -> None:
    model = users_gpt()
    anatomy(model)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
