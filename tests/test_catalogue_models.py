"""The catalogue as models: factors in the forward pass, and measurements."""

from __future__ import annotations

import math

import pytest
import torch

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
