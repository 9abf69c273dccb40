"""Measured runs of designed rules, and targets that no rule meets."""

from __future__ import annotations

import math
from typing import Any

import pytest

from designs import OPTIONS, made
from initscope import inspect
from initscope.designing import Targets, design, quantities
from initscope.designing.bracket import bracket
from initscope.errors import UsageError
from initscope.growth import final_values
from initscope.options import Options
from initscope.rules import get_rule

SEEDS = 6


@pytest.mark.parametrize(
    ("base", "fields", "targets"),
    [
        ("nanogpt", {}, {"final_variance": 1.0}),
        ("nanogpt", {}, {"gradient_ratio": 1.5}),
        ("nanogpt", {"norm": "sandwich"}, {"final_variance": 1.0}),
        ("xavier", {"activation": "swiglu", "norm_kind": "rmsnorm"}, {"growth": 3.0}),
        ("nanogpt", {}, {"final_variance": 1.0, "gradient_ratio": 2.0, "attention_share": 0.5}),
    ],
)
def test_a_measurement_is_what_is_expected_of_it(
    base: str, fields: dict[str, Any], targets: dict[str, float]
) -> None:
    found = made(base, fields, **targets)
    options = Options(seq_len=16, device="cpu", seeds=SEEDS, depth_law=False)
    outcome = found.outcome(inspect(found.config, found.rule, options))
    assert outcome.astray == []  # the mean over the seeds
    for direction, name in (("forward", "final_variance"), ("backward", "gradient_ratio")):
        low, high = quantities.expected(found.predicted, name)
        seeds = final_values(outcome.measured, direction).to_numpy()
        assert ((low <= seeds) & (seeds <= high)).all(), (name, low, seeds, high)


def test_a_run_that_contradicts_theory_is_named() -> None:
    found = made(final_variance=1.0)
    # What a model would show that forgets to divide by the depth.
    wrong = get_rule(found.inline.replace("/sqrt(2*n_layer)", ""))
    outcome = found.outcome(inspect(found.config, wrong, OPTIONS))
    assert outcome.astray == ["final_variance"]


# --- what cannot be ---


@pytest.mark.parametrize(
    ("base", "fields", "targets", "said"),
    [
        ("nanogpt", {}, {"final_variance": 5e-4},
         "the branches add to the embedding's 0.00079"),
        ("nanogpt", {}, {"growth": 0.5}, "it is 1.00 where the branches add nothing"),
        ("nanogpt", {}, {"gradient_ratio": 0.5}, "can reach is 1.00 to"),
        ("nanogpt", {"norm": "post"}, {"final_variance": 2.0},
         "it is 1.00 whatever the std of the branches, because a norm follows each sum"),
        ("fixup", {"norm": "none"}, {"final_variance": 1e6}, "as far as theory holds"),
        ("zero-projections", {}, {"attention_share": 0.5}, "has no growth of the stream"),
        ("nanogpt:v.std=0", {}, {"attention_share": 0.5}, "attn_out of nanogpt:v.std=0 would add"),
        ("nanogpt", {"positions": "alibi"}, {"growth": 2.0}, "theory does not cover positions"),
    ],
)  # fmt: skip
def test_what_cannot_be_reached_is_said_with_what_can(
    base: str, fields: dict[str, Any], targets: dict[str, float], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        made(base, fields, **targets)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_targets_that_cannot_be_right_are_refused() -> None:
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "design needs a target"),
        ({"final_variance": 0.0}, "--final-variance must be above 0, not 0"),
        ({"growth": math.nan}, "--growth must be above 0, not nan"),
        ({"attention_share": 1.0}, "between 0 and 1, not 1"),
        ({"growth": 2.0, "gradient_ratio": 2.0}, "name one of them"),
    )
    for targets, said in refused:
        with pytest.raises(UsageError, match=said):
            Targets(**targets)


def test_the_gradient_and_a_new_name_are_needed() -> None:
    with pytest.raises(UsageError, match="--forward-only leaves out"):
        design(8, "nanogpt", Targets(gradient_ratio=2.0), Options(forward_only=True))
    with pytest.raises(UsageError, match="there is a rule 'xavier' already"):
        design(8, "nanogpt", Targets(growth=2.0), name="xavier")


@pytest.mark.parametrize(("end", "found"), [(10.0, True), (1.5, True), (0.9, False)])
def test_a_root_is_found_up_to_where_the_function_ends(end: float, *, found: bool) -> None:
    places = bracket(lambda x: x - 1.4 if x < end else math.nan)
    assert (places is not None) is found
    if places is not None:
        assert places[0] <= 1.4 <= places[1] < end
