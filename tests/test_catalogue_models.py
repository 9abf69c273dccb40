"""The catalogue as models: factors in the forward pass, parity with other code, measurements."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import initscope
from initscope.bounds import Bounds
from initscope.checks import Evidence, get_check
from initscope.config import GPTConfig
from initscope.construction import build
from initscope.options import Options
from initscope.rules import RULES, Multipliers, config_for, get_rule
from initscope.sites import model_site
from initscope.verdict import Status

# At width 768, 12 heads of 64: α of DeepNet (2·n_layer)^1/4; μP with a base width of 256.
ROOT = 27.7128  # sqrt(768)
FACTORS: dict[tuple[str, int], Multipliers] = {
    ("deepnorm", 1): Multipliers(skip_attn=1.18921, skip_mlp=1.18921),
    ("deepnorm", 12): Multipliers(skip_attn=2.21336, skip_mlp=2.21336),
    ("deepnorm", 48): Multipliers(skip_attn=3.13017, skip_mlp=3.13017),
    ("deepnorm-torchscale", 12): Multipliers(embed=ROOT, skip_attn=2.21336, skip_mlp=2.21336),
    ("sub-ln-torchscale", 12): Multipliers(embed=ROOT),
    ("admin", 12): Multipliers(embed=ROOT, skip_attn=2.60129, skip_mlp=2.60129),
    ("admin", 48): Multipliers(embed=ROOT, skip_attn=4.49483, skip_mlp=4.49483),
    **{
        (rule, 12): Multipliers(embed=ROOT)
        for rule in (
            "ds-init",
            "ds-init-code",
            "t-fixup",
            "gemma",
            "hf-gemma",
            "transformers-without-tears",
        )
    },
    ("skipinit", 12): Multipliers(branch_attn=0, branch_mlp=0),
    ("modded-nanogpt", 12): Multipliers(attention=0.96),
    ("deepscalelm", 12): Multipliers(
        logits=0.0658808,
        skip_attn=0.997497,
        skip_mlp=0.997497,
        branch_attn=0.0707107,
        branch_mlp=0.0707107,
    ),
    ("deepscalelm-sigma", 12): Multipliers(logits=0.0658808),
    ("mup-example", 12): Multipliers(attention=0.125, logits=1 / 3),
    ("cerebras-mup", 12): Multipliers(embed=10, attention=0.125, logits=1 / 3),
    ("minicpm", 12): Multipliers(embed=12, logits=1 / 3, branch_attn=0.404145, branch_mlp=0.404145),
    ("rezero", 12): Multipliers(branch_attn=0, branch_mlp=0),
    ("layerscale", 12): Multipliers(branch_attn=1e-4, branch_mlp=1e-4),
    ("palm", 12): Multipliers(logits=0.0360844),
    ("t5", 12): Multipliers(attention=8, logits=0.0360844),
    ("mup", 12): Multipliers(attention=0.125, logits=1 / 3),
    ("completep", 12): Multipliers(
        attention=0.125, logits=1 / 3, branch_attn=1 / 6, branch_mlp=1 / 6
    ),
    ("completep", 48): Multipliers(
        attention=0.125, logits=1 / 3, branch_attn=1 / 24, branch_mlp=1 / 24
    ),
    ("depth-mup", 48): Multipliers(
        attention=0.125, logits=1 / 3, branch_attn=0.144338, branch_mlp=0.144338
    ),
}
BY_LAYER = {"u-mup", "nanochat-latest"}
FIELDS = Multipliers.__dataclass_fields__


@pytest.mark.parametrize(("rule", "n_layer"), FACTORS)
def test_factors(rule: str, n_layer: int) -> None:
    config = GPTConfig(n_layer=n_layer, n_embd=768, n_head=12)
    for layer in (-1, 0, n_layer - 1, n_layer):
        got = get_rule(rule).multipliers(model_site(config, layer))
        for name in FIELDS:
            want = getattr(FACTORS[rule, n_layer], name)
            assert getattr(got, name) == pytest.approx(want, rel=5e-6), name


def test_all_other_rules_have_no_factors() -> None:
    site = model_site(GPTConfig(n_layer=12), 3)
    plain = {rule.name for rule in RULES.values() if rule.multipliers(site) == Multipliers()}
    assert plain == RULES.keys() - {rule for rule, _ in FACTORS} - BY_LAYER


def test_u_mup_weighs_its_branches_as_the_paper_does() -> None:
    """τ² is 1/2, 1/3, 1/4, 1/5 over two blocks: embedding, attention and MLP a third each."""
    config = GPTConfig(n_layer=2, n_embd=768, n_head=12)
    one, two = (get_rule("u-mup").multipliers(model_site(config, layer)) for layer in range(2))
    assert one.attention == 0.125
    skips = [one.skip_attn, one.skip_mlp, two.skip_attn, two.skip_mlp]
    assert [skip**-2 for skip in skips] == pytest.approx([3 / 2, 4 / 3, 5 / 4, 6 / 5])
    assert math.prod(skip**2 for skip in skips) == pytest.approx(1 / 3)
    mix = (math.log(256) / 256) ** (0.5 * 256 / 257)  # log-interpolated, 256 = 4·head size
    assert one.branch_attn == pytest.approx(math.sqrt(1 / 3) / mix)
    assert two.branch_mlp == pytest.approx(math.sqrt(1 / 6) * 2**0.75)


def test_u_mup_computes_the_logits_of_unit_scaling() -> None:
    unit = pytest.importorskip("unit_scaling", exc_type=ImportError)
    config = config_for("u-mup", n_layer=3, n_embd=64, n_head=4, vocab_size=97, positions="none",
                        d_ff=256, norm_eps=1e-5)  # fmt: skip
    ours, theirs = build(config, "u-mup"), unit.TransformerDecoder(64, 97, 3, 4)
    with torch.no_grad():
        theirs.embedding.weight.copy_(ours.embedding.wte.weight)
        theirs.projection.weight.copy_(ours.unembedding.head.weight * 64)
        for block, layer in zip(ours.blocks, theirs.layers, strict=True):
            weights = {name.removesuffix(".weight"): p for name, p in block.named_parameters()}
            fused = torch.cat([weights[name] for name in "qkv"])
            layer.mhsa.linear_qkv.weight.copy_(fused * 64**0.5)
            for theirs_, name in (
                (layer.mhsa.linear_o, "attn_out"), (layer.mlp.linear_1, "mlp_up"),
                (layer.mlp.linear_gate, "mlp_gate"), (layer.mlp.linear_2, "mlp_down"),
            ):  # fmt: skip
                theirs_.weight.copy_(weights[name] * weights[name].shape[1] ** 0.5)
        ids = torch.randint(97, (2, 256), generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(ours(ids)[0], theirs(ids), rtol=1e-4, atol=1e-5)


def test_nanochat_adds_the_embedding_before_each_block() -> None:
    """With zero projections its forward pass is x = λ·x + μ·embedding, block after block."""
    config = config_for("nanochat-latest", n_layer=4, n_embd=32, vocab_size=101)
    model = build(config, "nanochat-latest")
    x = start = model.embedding(torch.arange(101)[None])
    stream = x
    for layer, block in enumerate(model.blocks):
        x = (1.15 - 0.1 * layer / 3) * x + (0.2 - 0.15 * layer / 3) * start
        stream = block(stream)
        torch.testing.assert_close(stream, x)
    factors = [get_rule("nanochat-latest").multipliers(model_site(config, n)) for n in (-1, 0, 4)]
    assert [f.skip_attn for f in factors] == [1.0, pytest.approx(1.35), 1.0]
    assert [f.attention for f in factors] == pytest.approx([1.44] * 3)


def alike(ours: Tensor, theirs: Tensor) -> bool:
    """Whether mean and std agree within five standard errors of both samples."""
    error = 5 * math.sqrt(2 / ours.numel())
    std = theirs.std().item()
    return (
        abs(ours.std().item() - std) <= error * std
        and abs(ours.mean().item() - theirs.mean().item()) <= error * std
    )


def test_rezero_draws_as_the_modules_of_its_layer() -> None:
    torch.manual_seed(0)
    config = config_for("rezero", n_layer=1, n_embd=96, n_head=4, vocab_size=50)
    block = build(config, "rezero").blocks[0]
    attention, up = nn.MultiheadAttention(96, 4), nn.Linear(96, 384)
    down, biases = nn.Linear(384, 96), dict(block.named_parameters())
    q, k, v = attention.in_proj_weight.detach().chunk(3)
    for name, theirs in {
        "q": q, "k": k, "v": v, "attn_out": attention.out_proj.weight,
        "mlp_up": up.weight, "mlp_down": down.weight,
    }.items():  # fmt: skip
        assert alike(biases[f"{name}.weight"].detach(), theirs.detach()), name
    assert alike(biases["mlp_up.bias"].detach(), up.bias.detach())
    assert biases["mlp_up.bias"].abs().max() <= 96**-0.5
    assert not attention.in_proj_bias.any()
    assert not attention.out_proj.bias.any()
    assert not any(biases[f"{name}.bias"].any() for name in ("q", "k", "v", "attn_out"))


def transformers() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on import
        return pytest.importorskip("transformers", exc_type=ImportError)


def test_gpt2_of_transformers_scales_as_nanogpt() -> None:
    hf = transformers()
    torch.manual_seed(0)
    shape = {"n_layer": 6, "n_embd": 64, "n_head": 4, "vocab_size": 300}
    theirs = hf.GPT2LMHeadModel(hf.GPT2Config(**shape, n_positions=128)).transformer
    config = config_for("nanogpt", **shape, block_size=128, bias=True)
    ours = build(config, "nanogpt")
    assert alike(ours.embedding.wte.weight, theirs.wte.weight)
    assert ours.embedding.wpe is not None
    assert alike(ours.embedding.wpe.weight, theirs.wpe.weight)
    for block, other in zip(ours.blocks, theirs.h, strict=True):
        pairs = dict(zip("qkv", other.attn.c_attn.weight.chunk(3, dim=1), strict=True))
        pairs |= {"attn_out": other.attn.c_proj.weight, "mlp_up": other.mlp.c_fc.weight}
        pairs |= {"mlp_down": other.mlp.c_proj.weight}
        for name, weight in pairs.items():
            assert alike(block.get_parameter(f"{name}.weight"), weight), name
        for vector in (other.attn.c_proj.bias, other.mlp.c_fc.bias, other.ln_1.bias):
            assert not vector.any()
        assert other.ln_1.weight.eq(1).all()


def test_t5_of_transformers_draws_as_t5() -> None:
    hf = transformers()
    torch.manual_seed(0)
    shape = {"d_model": 64, "d_ff": 256, "d_kv": 16, "num_heads": 4, "vocab_size": 300}
    theirs = hf.T5Model(hf.T5Config(**shape, num_layers=2)).decoder
    config = config_for("t5", n_layer=2, n_embd=64, n_head=4, vocab_size=300)
    ours = build(config, "t5")
    assert alike(ours.embedding.wte.weight, theirs.embed_tokens.weight)
    for block, other in zip(ours.blocks, theirs.block, strict=True):
        attention, mlp = other.layer[0].SelfAttention, other.layer[-1].DenseReluDense
        pairs = {"q": attention.q, "k": attention.k, "v": attention.v, "attn_out": attention.o}
        for name, linear in (pairs | {"mlp_up": mlp.wi, "mlp_down": mlp.wo}).items():
            assert alike(block.get_parameter(f"{name}.weight"), linear.weight), name
            assert linear.bias is None
        assert block.attend.scale == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_measures_and_its_parameters_are_as_it_says(rule: str) -> None:
    config = config_for(rule, n_layer=4, n_embd=32, vocab_size=101, block_size=32)
    profile = initscope.inspect(config, rule, Options(depth_law=False))
    finding = get_check("IS012").find(Evidence(profile, Bounds()))  # judge() would run them all
    assert finding.status is Status.KEPT, finding.message
    stream = profile.stream().to_numpy()
    assert stream.shape == (5, 1)
    assert (stream > 0).all()


@pytest.mark.parametrize(
    "rule",
    [
        "rezero",
        "zero-projections",
        "nanochat",
        "modded-nanogpt",
        "fixup",
        "skipinit",
    ],
)
def test_zero_branches_leave_the_stream_as_it_was_embedded(rule: str) -> None:
    config = config_for(rule, n_layer=4, n_embd=32, vocab_size=101, block_size=32)
    stream = initscope.inspect(config, rule, Options(depth_law=False)).stream().iloc[:, 0]
    assert stream.nunique() == 1
