"""Architectures beside GPT-2's: each block against its formula, and against other people's code."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initscope.config import GPTConfig
from initscope.construction import build
from initscope.gpt import GPT, Block
from initscope.positions import rotate, sinusoids, slopes
from initscope.rules import config_for
from initscope.rules.core import Multipliers

WIDTH, HEADS, VOCAB = 48, 4, 97
IDS = torch.randint(VOCAB, (2, 20), generator=torch.Generator().manual_seed(0))
X = torch.randn(2, 20, WIDTH, generator=torch.Generator().manual_seed(1))


def model(rule: str = "torch", **fields: Any) -> GPT:
    shape = {"n_layer": 2, "n_embd": WIDTH, "n_head": HEADS, "vocab_size": VOCAB, "bias": True}
    return build(config_for(rule, **{**shape, **fields}), rule)


def block(**fields: Any) -> Block:
    return blocks(model(**fields))[0]


def blocks(made: GPT) -> list[Block]:
    return [b for b in made.blocks if isinstance(b, Block)]


def attention(b: Block, x: Tensor) -> Tensor:
    """Causal softmax attention in plain steps, up to the output projection."""
    q, k, v = (linear(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for linear in (b.q, b.k, b.v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
    hidden = torch.ones(20, 20, dtype=torch.bool).triu(1)
    return (scores.masked_fill(hidden, -math.inf).softmax(-1) @ v).transpose(1, 2).flatten(2)


def both(b: Block, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return attention's branch on x and the MLP's on y, each with its output projection."""
    return b.attn_out(attention(b, x)), b.mlp_down(F.gelu(b.mlp_up(y)))


def assert_same(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_parallel_branches_read_the_same_stream_by_a_norm_each() -> None:
    b = block(branches="parallel")
    nn.init.normal_(b.norm_2.get_parameter("weight"))
    attn, mlp = both(b, b.norm_1(X), b.norm_2(X))
    assert_same(b(X), X + attn + mlp)


def test_shared_branches_read_one_norm() -> None:
    b = block(branches="shared")
    assert isinstance(b.norm_2, nn.Identity)
    attn, mlp = both(b, b.norm_1(X), b.norm_1(X))
    assert_same(b(X), X + attn + mlp)


def test_factors_of_parallel_branches() -> None:
    b = block(branches="parallel")
    b.set_multipliers(Multipliers(skip_attn=2, branch_attn=3, skip_mlp=5, branch_mlp=7))
    attn, mlp = both(b, b.norm_1(X), b.norm_2(X))
    assert_same(b(X), 5 * (2 * X + 3 * attn) + 7 * mlp)


def test_output_norms_stand_between_branch_and_stream() -> None:
    b = block(norm="output")
    assert isinstance(b.norm_1, nn.Identity)
    mid = X + b.norm_1_out(b.attn_out(attention(b, X)))
    assert_same(b(X), mid + b.norm_2_out(b.mlp_down(F.gelu(b.mlp_up(mid)))))


def test_inner_norms_stand_before_the_output_projections() -> None:
    b = block(inner_norm=True)
    assert b.norm_mlp.get_parameter("weight").shape == (4 * WIDTH,)
    mid = X + b.attn_out(b.norm_attn(attention(b, b.norm_1(X))))
    assert_same(b(X), mid + b.mlp_down(b.norm_mlp(F.gelu(b.mlp_up(b.norm_2(mid))))))


def test_the_embedding_norm_comes_after_the_factor() -> None:
    made = model(embed_norm=True, positions="none")
    made.embedding.multiplier = 3.0
    want = F.layer_norm(3 * made.embedding.wte.weight[IDS], (WIDTH,))
    assert_same(made.embedding(IDS), want)


def test_sinusoids_are_those_of_the_paper() -> None:
    made = model("t-fixup")
    waves = made.embedding(IDS) - math.sqrt(WIDTH) * made.embedding.wte.weight[IDS]
    half = WIDTH // 2
    for position, channel in ((0, 0), (3, 1), (19, half - 1)):
        angle = position / 10_000 ** (channel / half)
        assert waves[0, position, channel].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert waves[0, position, half + channel].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert sinusoids(torch.zeros(1, 4, 7)).shape == (4, 7)


def test_rope_leaves_the_rest_of_a_head_alone() -> None:
    x = torch.randn(1, 2, 5, 12)
    assert_same(rotate(x, 1e4, 4)[..., 4:], x[..., 4:])
    assert_same(rotate(x, 1e4, 4)[..., :4], rotate(x[..., :4], 1e4))
    assert GPTConfig(n_layer=1, n_embd=1024, n_head=16, rope_share=0.25).rotated == 16


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [(4, [2, 4, 6, 8]), (8, [1, 2, 3, 4, 5, 6, 7, 8]), (6, [2, 4, 6, 8, 1, 3]), (1, [8])],
)
def test_slopes_of_alibi(heads: int, exponents: list[int]) -> None:
    assert slopes(heads, torch.device("cpu")).tolist() == [2.0**-exponent for exponent in exponents]


def test_alibi_is_a_penalty_on_distance() -> None:
    b, x = block(positions="alibi"), X
    q, k, v = (linear(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for linear in (b.q, b.k, b.v))
    distance = torch.arange(20)[None] - torch.arange(20)[:, None]
    scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
    scores = scores + slopes(HEADS, x.device)[:, None, None] * distance
    mixed = scores.masked_fill(distance > 0, -math.inf).softmax(-1) @ v
    assert_same(b._attention(x), b.attn_out(mixed.transpose(1, 2).flatten(2)))


# --- other people's code, on copied weights ---


def transformers() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on import
        return pytest.importorskip("transformers", exc_type=ImportError)


def copy(pairs: dict[nn.Module, nn.Module]) -> None:
    """Copy weights and biases from our modules (values) to theirs (keys)."""
    for theirs, ours in pairs.items():
        theirs.load_state_dict(ours.state_dict())


@torch.no_grad()
def fuse(theirs: nn.Module, b: Block) -> None:
    """Fill a projection whose rows are, head after head, q, k and v."""
    for name in ("weight", "bias"):
        parts = [m.get_parameter(name).unflatten(0, (HEADS, -1)) for m in (b.q, b.k, b.v)]
        theirs.get_parameter(name).copy_(torch.stack(parts, 1).flatten(0, 2))


def copy_block(theirs: Any, attends: Any, b: Block) -> None:
    """Fill a layer whose parts have Megatron's names."""
    fuse(attends.query_key_value, b)
    copy({
        attends.dense: b.attn_out, theirs.mlp.dense_h_to_4h: b.mlp_up,
        theirs.mlp.dense_4h_to_h: b.mlp_down, theirs.input_layernorm: b.norm_1,
        theirs.post_attention_layernorm: b.norm_2,
    })  # fmt: skip


@torch.no_grad()
def test_neox_is_gpt_neox_of_transformers() -> None:
    hf, ours = transformers(), model("neox", n_embd=64)
    shape = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": HEADS}
    config = hf.GPTNeoXConfig(**shape, vocab_size=VOCAB, intermediate_size=256)
    theirs = hf.GPTNeoXForCausalLM(config).eval()
    copy({
        theirs.gpt_neox.embed_in: ours.embedding.wte,
        theirs.get_output_embeddings(): ours.unembedding.head,
        theirs.gpt_neox.final_layer_norm: ours.unembedding.norm_f,
    })  # fmt: skip
    for layer, b in zip(theirs.gpt_neox.layers, blocks(ours), strict=True):
        copy_block(layer, layer.attention, b)
    assert_same(ours(IDS)[0], theirs(IDS).logits)


@torch.no_grad()
def test_bloom_is_bloom_of_transformers() -> None:
    hf, ours = transformers(), model("bloom")
    config = hf.BloomConfig(hidden_size=WIDTH, n_layer=2, n_head=HEADS, vocab_size=VOCAB)
    theirs = hf.BloomForCausalLM(config).eval()
    copy({
        theirs.transformer.word_embeddings: ours.embedding.wte,
        theirs.transformer.word_embeddings_layernorm: ours.embedding.norm_embed,
        theirs.transformer.ln_f: ours.unembedding.norm_f,
    })  # fmt: skip
    for layer, b in zip(theirs.transformer.h, blocks(ours), strict=True):
        copy_block(layer, layer.self_attention, b)
    assert_same(ours(IDS)[0], theirs(IDS).logits)


@torch.no_grad()
def test_gptj_is_gptj_of_transformers() -> None:
    """Its pairs are neighbours where ours are halves: the same rotation of reordered features."""
    hf, ours = transformers(), model("gptj", n_embd=64)
    config = hf.GPTJConfig(n_embd=64, n_layer=2, n_head=HEADS, vocab_size=VOCAB, rotary_dim=4)
    theirs = hf.GPTJForCausalLM(config).eval()
    copy({
        theirs.transformer.wte: ours.embedding.wte,
        theirs.transformer.ln_f: ours.unembedding.norm_f,
    })  # fmt: skip
    theirs.lm_head.weight.copy_(ours.unembedding.head.weight)
    theirs.lm_head.bias.zero_()
    order = torch.tensor([0, 2, 1, 3, *range(4, 16)])
    for layer, b in zip(theirs.transformer.h, blocks(ours), strict=True):
        copy({layer.mlp.fc_in: b.mlp_up, layer.mlp.fc_out: b.mlp_down, layer.ln_1: b.norm_1})
        for name, linear in (("q", b.q), ("k", b.k)):
            rows = linear.weight.unflatten(0, (HEADS, -1))[:, order].flatten(0, 1)
            layer.attn.get_submodule(f"{name}_proj").get_parameter("weight").copy_(rows)
        layer.attn.v_proj.weight.copy_(b.v.weight)
        layer.attn.out_proj.weight.copy_(b.attn_out.weight)
    assert_same(ours(IDS)[0], theirs(IDS).logits)
