"""Which rule drew it: every rule of the catalogue, equal ones, faults planted, and training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from checkpoints import SIZE, faulty, model
from initscope import identify
from initscope.errors import MeasurementError
from initscope.gpt import GPT
from initscope.origin import words
from initscope.origin.result import Identification
from initscope.rules import RULES, Draw, Rule, config_for, get_rule
from initscope.sites import all_parameters

L = SIZE["n_layer"]
Check = tuple[str, float, float]


def draws_of(rule: str, shape_of: str) -> list[Check]:
    """List what a rule draws for every parameter of another rule's model."""
    config = config_for(shape_of, **SIZE)
    draws = [get_rule(rule).draw(parameter.site) for parameter in all_parameters(config)]
    return [
        ("constant", draw.mean, 0.0) if draw.std == 0 else (draw.kind, draw.std, draw.cut)
        for draw in draws
    ]


def same(a: list[Check], b: list[Check]) -> bool:
    return all(
        x[0] == y[0] and math.isclose(x[1], y[1], rel_tol=1e-8) and x[2] == y[2]
        for x, y in zip(a, b, strict=True)
    )


def equals(rule: str) -> set[str]:
    """Name the rules that no weights of this rule's model can tell from it."""
    drawn = draws_of(rule, rule)
    return {other for other in RULES if same(draws_of(other, rule), drawn)}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_every_rule_is_told_from_all_that_draw_otherwise(rule: str, dtype: torch.dtype) -> None:
    for seed in range(3):
        found = identify(model(rule, seed, dtype=dtype), n_head=SIZE["n_head"])
        assert set(found.fits) == equals(rule), words.headline(found)
        assert words.headline(found).startswith("fits: ")


def test_what_cannot_be_told_apart_is_said() -> None:
    assert equals("nanogpt") == {"nanogpt", "mingpt", "megatron"}
    assert equals("completep") == {"completep", "depth-mup"}
    found = identify(model("depth-mup"))
    notes = dict(words.notes(found))
    assert "completep and depth-mup draw the same weights" in notes["alike"]
    assert "multiplies in the forward pass, which no weight shows" in notes["unseen"]


@pytest.mark.parametrize("rule", ["nanogpt", "mingpt", "megatron"])
def test_of_equal_rules_the_architecture_seen_decides_the_order(rule: str) -> None:
    assert identify(model(rule)).fits[0] == rule


# --- faults ---


def misfits(found: Identification) -> dict[str, tuple[list[int], str | None]]:
    """Return, by group, the layers at fault and the mistake that is named."""
    return {
        miss.group.label: (
            [m.named.site.layer for m in miss.members], found.fault(found.nearest, miss)
        )
        for miss in found.nearest.misses
    }  # fmt: skip


def times(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x * factor


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
    assert text.startswith("attn_out: normal 0.0201, nanogpt says normal 0.00707 (×2.84)")
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


# --- what is given ---


def test_rules_of_ones_own_are_looked_among() -> None:
    mine = dataclasses.replace(
        get_rule("nanogpt"), name="mine", draw=lambda site: _times(get_rule("nanogpt"), site, 1.37)
    )
    found = identify(faulty(times(1.37)), rules=[get_rule("nanogpt"), mine])
    assert found.fits == ["mine"]


def _times(rule: Rule, site: object, factor: float) -> Draw:
    draw = rule.draw(site)  # type: ignore[arg-type]
    return dataclasses.replace(draw, scale=draw.scale * factor) if draw.std else draw


def test_a_guess_of_the_heads_is_said_where_it_matters() -> None:
    drawn = model("t5", n_embd=256)  # 4 heads of 64: the guess is right
    state = drawn.state_dict()
    guessed = identify(state)
    assert guessed.fits == ["t5"]
    assert "t5" in dict(words.notes(guessed))["heads"]
    assert "heads" not in dict(words.notes(identify(state, n_head=4)))
    wrong = identify(state, n_head=2)
    assert misfits(wrong) == {"q": (LAYERS, "the std is off by ×√2")}


def test_a_head_that_is_the_embedding_is_tied() -> None:
    state = model().state_dict()
    assert "unembedding.head.weight" in state
    found = identify({name: x.clone() for name, x in state.items()})
    assert found.tied
    assert "head" not in {group.label for group in found.groups}
    assert not identify(model("mingpt")).tied


def test_rows_of_padding_are_left_out() -> None:
    drawn = model()
    drawn.embedding.wte.weight.data[[0, 5, 380]] = 0
    found = identify(drawn)
    assert "nanogpt" in found.fits
    assert found.remarks == ("3 rows of zeros in embedding.wte.weight left out, as padding",)


def test_gains_saved_less_one() -> None:
    drawn = model()
    for name, parameter in drawn.named_parameters():
        if "norm" in name:
            parameter.data.zero_()
    found = identify(drawn)
    assert "nanogpt" in found.fits
    assert "Gemma" in found.remarks[0]


def test_a_model_without_values_is_refused() -> None:
    with torch.device("meta"):
        empty = GPT(config_for("nanogpt", **SIZE))
    with pytest.raises(MeasurementError, match="on the meta device: no values"):
        identify(empty)
