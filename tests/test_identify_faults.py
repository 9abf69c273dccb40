"""Mistakes planted in a model are named, and a trained model is not taken for a fresh one."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor, nn

from checkpoints import SIZE, faulty, misfits, model, times
from initscope import identify
from initscope.gpt import GPT
from initscope.origin import words

L = SIZE["n_layer"]


def torch_default(x: Tensor) -> Tensor:
    layer = nn.Linear(x.shape[1], x.shape[0])
    return layer.weight.data


LAYERS = list(range(L))
FAULTS = {
    "scaling lost": (times(math.sqrt(2 * L)), ["attn_out"], "the residual scaling was lost"),
    "scaled up": (
        times(2 * L), ["attn_out", "mlp_down"],
        "the residual scaling multiplies where it should divide",
    ),
    "scaled twice": (
        times(1 / math.sqrt(2 * L)), ["attn_out"], "the residual scaling was applied twice",
    ),
    "blocks counted": (
        times(math.sqrt(2)), ["mlp_down"],
        "the residual scaling counts blocks, not the two branches of each",
    ),
    "doubled": (times(2), ["mlp_up"], "the std is off by ×2"),
    "halved": (times(0.5), ["q", "k"], "the std is off by ×1/2"),
    "variance as std": (times(0.02), ["mlp_up"], "the variance was given as std"),
    "zero": (torch.zeros_like, ["v"], "it was left at zero"),
    "torch": (torch_default, ["mlp_up"], "PyTorch's default was left"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(2))
def test_a_planted_fault_is_named(fault: str, seed: int) -> None:
    torch.manual_seed(seed)
    change, groups, name = FAULTS[fault]
    found = identify(faulty(change, *[f".{group}." for group in groups], seed=seed))
    assert not found.fits
    assert found.nearest.rules[0].name == "nanogpt"
    assert misfits(found) == dict.fromkeys(groups, (LAYERS, name))


def test_a_fault_in_one_layer_names_the_layer() -> None:
    torch.manual_seed(0)
    found = identify(faulty(torch_default, "2.mlp_down"))
    assert misfits(found) == {"mlp_down": ([2], "PyTorch's default was left")}
    (miss,) = found.nearest.misses
    assert words.sentence(found, found.nearest, miss).startswith("mlp_down of layer 2: mixed") or (
        words.sentence(found, found.nearest, miss).startswith("mlp_down of layer 2: uniform")
    )


def test_the_rule_that_a_misfit_matches_is_named() -> None:
    found = identify(faulty(times(math.sqrt(2 * L)), "attn_out"))
    (miss,) = found.nearest.misses
    assert miss.measured == pytest.approx(0.02, rel=0.02)
    assert miss.expected == pytest.approx(0.02 / math.sqrt(2 * L))
    text = words.sentence(found, found.nearest, miss)
    said = r"attn_out: normal 0\.0(199|20[01]), nanogpt says normal 0\.00707 \(×2\.8\d\)"
    assert re.match(said, text)
    assert ": the residual scaling was lost; matches " in text
    assert "nanogpt-flat" in found.fitting(miss.group)
    assert "nanogpt" not in found.fitting(miss.group)


def test_a_rule_by_layer_that_lost_its_scaling() -> None:
    found = model("olmo-mitchell")
    for layer, block in enumerate(found.blocks):
        block.attn_out.weight.data *= math.sqrt(2 * (layer + 1))  # type: ignore[union-attr, operator]
    named = misfits(identify(found))
    assert named == {"attn_out": (LAYERS, "the residual scaling by layer was lost")}


def test_a_normal_where_a_truncated_one_is_prescribed() -> None:
    torch.manual_seed(0)
    named = misfits(
        identify(faulty(lambda x: torch.randn_like(x) * 0.02, "mlp_up", rule="cerebras"))
    )
    assert named == {"mlp_up": (LAYERS, "it was not truncated")}


@pytest.mark.parametrize(("factor", "shown"), [(2.0, 2.0), (0.5, 0.5), (0.7, 0.7), (1.37, 1.37)])
def test_one_factor_on_everything_is_seen(factor: float, shown: float) -> None:
    found = identify(faulty(times(factor)))
    assert not found.fits
    assert found.rescaled is not None
    assert found.nearest.rules[0].name == found.rescaled.rules[0].name == "nanogpt"
    assert found.rescaled.factor == pytest.approx(shown, rel=5e-3)


def trained(seed: int = 0) -> GPT:
    """Take some steps of Adam on random tokens."""
    found = model(seed=seed)
    optimiser = torch.optim.AdamW(found.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(8):
        ids = torch.randint(40, (4, 33), generator=generator)
        _, loss = found(ids[:, :-1], ids[:, 1:])
        assert loss is not None
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return found


def test_a_trained_model_fits_nothing_and_says_why() -> None:
    found = identify(trained())
    assert found.fits == []
    assert found.rescaled is None
    assert words.headline(found).startswith("none fits")
    assert "norm gains vary" in dict(words.notes(found))["trained?"]


def test_what_is_not_finite_fits_nothing() -> None:
    found = identify(faulty(lambda x: x * math.nan, "1.q."))
    assert misfits(found) == {"q": ([1], None)}
    assert "q of layer 1: not finite" in words.sentence(
        found, found.nearest, found.nearest.misses[0]
    )


def test_parts_drawn_as_one_fused_matrix() -> None:
    torch.manual_seed(0)
    state = model("xavier").state_dict()
    fused = torch.nn.init.xavier_normal_(torch.empty(3 * SIZE["n_embd"], SIZE["n_embd"]))
    for layer in LAYERS:
        for part in "qkv":
            del state[f"blocks.{layer}.{part}.weight"]
        state[f"blocks.{layer}.attn.c_attn.weight"] = fused
    text = "it was drawn as a part of the fused matrix, whose fan_out is larger"
    assert misfits(identify(state)) == dict.fromkeys("qkv", (LAYERS, text))
