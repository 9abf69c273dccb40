"""Which rule drew it: every rule of the catalogue, equal ones, and what the answer hangs on."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from checkpoints import SIZE, faulty, misfits, model, times
from initscope import identify
from initscope.errors import MeasurementError
from initscope.gpt import GPT
from initscope.origin import words
from initscope.rules import RULES, Draw, Rule, config_for, get_rule
from initscope.sites import all_parameters

LAYERS = list(range(SIZE["n_layer"]))
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
    assert {"nanogpt", "mingpt", "megatron"} <= equals("nanogpt")
    assert "nanogpt-flat" not in equals("nanogpt")
    assert {"completep", "depth-mup"} <= equals("completep")
    found = identify(model("depth-mup"))
    notes = dict(words.notes(found))
    assert "completep and depth-mup draw the same weights" in notes["alike"]
    assert "multiplies in the forward pass, which no weight shows" in notes["unseen"]


@pytest.mark.parametrize("rule", ["nanogpt", "mingpt", "megatron"])
def test_of_equal_rules_the_architecture_seen_decides_the_order(rule: str) -> None:
    assert identify(model(rule)).fits[0] == rule


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
