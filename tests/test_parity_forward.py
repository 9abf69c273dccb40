"""The factors in a forward pass, by output: public code on weights copied from ours."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elsewhere import BASE_WIDTH, Weights, rezero_layer, rezero_weights
from huggingface import GPT2, T5
from initscope.construction import build
from initscope.gpt import GPT, Block
from initscope.rules import Multipliers, config_for
from small import ids
from test_parity import SHAPE, config_of, ours

SEEDS = range(3)


def copy(mine: Weights, theirs: Weights) -> None:
    """Overwrite their parameters in place, each by ours of the same layer and label."""
    for key, tensor in theirs.items():
        tensor.data.copy_(mine[key])


def logits(model: GPT, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return model(tokens)[0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tied", [True, False])
def test_gpt2_computes_what_the_gpt_here_computes(seed: int, tied: bool) -> None:
    config = config_of("torch", activation="gelu_tanh", tied=tied)  # a rule that draws biases too
    theirs = GPT2.build(config).eval()
    copy(ours(config, "torch", seed), GPT2.weights(theirs, config))
    with torch.no_grad():
        expected = theirs(ids(vocab=300)).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits(build(config, "torch", seed), ids(vocab=300)), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_t5_has_no_factor_in_attention_and_one_on_the_logits(seed: int) -> None:
    config = config_of("t5", bias=False)
    theirs = T5.build(config).eval()
    copy(ours(config, "t5", seed), T5.weights(theirs, config))
    (positions,) = (p for n, p in theirs.decoder.named_parameters() if "relative" in n)
    positions.data.zero_()
    nothing = (torch.zeros(2, 1, config.n_embd),)  # an encoder's output that adds nothing
    with torch.no_grad():
        expected = theirs(decoder_input_ids=ids(vocab=300), encoder_outputs=nothing).logits
    assert expected.std() > 0.1
    got = logits(build(config, "t5", seed), ids(vocab=300))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, 0.3])
def test_rezero_computes_what_its_own_layer_computes(factor: float) -> None:
    """At initialisation, and with a factor other than 0 to see the branches too."""
    config = config_of("rezero")
    layer = rezero_layer(config)
    assert layer.resweight.item() == 0
    block = build(config, "rezero").blocks[0]
    assert isinstance(block, Block)
    assert (block.multipliers.branch_attn, block.multipliers.branch_mlp) == (0, 0)
    block.set_multipliers(Multipliers(branch_attn=factor, branch_mlp=factor))
    layer.resweight.data.fill_(factor)
    for name, tensor in rezero_weights(layer).items():
        tensor.data.copy_(ours(config, "rezero", 0)[0, name])
    x = torch.randn(2, 7, config.n_embd)
    causal = torch.full((7, 7), -math.inf).triu(1)
    with torch.no_grad():
        expected = layer(x.transpose(0, 1), src_mask=causal).transpose(0, 1)
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("rule", ["mup", "completep", "depth-mup"])
def test_mup_reads_out_as_its_library_does(rule: str) -> None:
    mup: Any = pytest.importorskip("mup")
    config = config_of(rule, bias=False)
    model = build(config, rule)
    readout = mup.MuSharedReadout(model.embedding.wte.weight, bias=False)
    base = mup.MuReadout(BASE_WIDTH, config.vocab_size, bias=False)
    delta = mup.MuReadout(2 * BASE_WIDTH, config.vocab_size, bias=False)
    mup.set_base_shapes(readout, base, delta=delta, rescale_params=False)
    x = torch.randn(2, 7, config.n_embd)
    with torch.no_grad():
        torch.testing.assert_close(model.unembedding(x), readout(model.unembedding.norm_f(x)))


def queries_keys_values() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4, 25, 16, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("rule", ["mup", "completep", "depth-mup"])
def test_mup_attends_by_one_over_the_head_size(rule: str) -> None:
    """As unit-scaling's attention does, which multiplies all of its output by one number more."""
    unit: Any = pytest.importorskip("unit_scaling.functional")
    block = build(config_of(rule), rule).blocks[0]
    assert isinstance(block, Block)
    q, k, v = queries_keys_values()
    ratio = block.attend(q, k, v) / unit.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(ratio, ratio.median().expand_as(ratio), rtol=1e-3, atol=0)
    other = build(config_of("nanogpt"), "nanogpt").blocks[0]
    assert isinstance(other, Block)
    usual = other.attend(q, k, v) / unit.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert usual.std() > 0.1  # 1/sqrt(head size) is told apart


def unit_block(block: Block, x: Tensor, taus: tuple[float, float]) -> Tensor:
    """Compute a block with unit-scaling's functions, on weights made unit again."""
    unit: Any = pytest.importorskip("unit_scaling.functional")

    def linear(name: str, inputs: Tensor) -> Tensor:
        weight = block.get_parameter(f"{name}.weight")
        return unit.linear(inputs, weight * weight.shape[1] ** 0.5, None)

    def attention(inputs: Tensor) -> Tensor:
        normed = block.norm_1(inputs)
        q, k, v = (linear(name, normed).unflatten(-1, (4, -1)).transpose(1, 2) for name in "qkv")
        mixed = unit.scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear("attn_out", mixed.transpose(1, 2).flatten(2))

    def mlp(inputs: Tensor) -> Tensor:
        normed = block.norm_2(inputs)
        hidden = unit.silu_glu(linear("mlp_up", normed), linear("mlp_gate", normed))
        return linear("mlp_down", hidden)

    return unit.residual_apply(mlp, unit.residual_apply(attention, x, taus[0]), taus[1])


@pytest.mark.parametrize("n_layer", [1, 12])
def test_u_mup_computes_what_unit_scaling_computes(n_layer: int) -> None:
    functional: Any = pytest.importorskip("unit_scaling.core.functional")
    tau = functional.transformer_residual_scaling_rule()
    shape = {**SHAPE, "n_layer": n_layer, "bias": False, "positions": "none"}
    model = build(config_for("u-mup", **shape), "u-mup")
    x = torch.randn(2, 256, SHAPE["n_embd"])  # the length that its factor on attention is for
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        taus = tau(2 * layer, 2 * n_layer), tau(2 * layer + 1, 2 * n_layer)
        with torch.no_grad():
            torch.testing.assert_close(block(x), unit_block(block, x, taus), rtol=1e-4, atol=1e-5)
