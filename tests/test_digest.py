"""What is shown of a profile, in numbers (digest) and in words (captions)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import synthetic
from initscope import captions, digest
from initscope.config import GPTConfig
from initscope.digest import ATTENTION, COSINE, GRADIENT, RESIDUAL
from initscope.notation import layer_name
from initscope.profile import Profile
from initscope.sites import block_parameters


def text(profile: Profile, label: str) -> str:
    """Return the findings with this label."""
    found = captions.findings(profile)
    return "; ".join(note.text for note in found if note.label.endswith(label))


# --- curves ---


def test_the_residual_curve_runs_from_the_embedding_to_the_last_block() -> None:
    curve = RESIDUAL.mean(synthetic.profile(n_layer=3, start=2.0, growth=3.0))
    assert curve.to_dict() == pytest.approx({-1: 2.0, 0: 6.0, 1: 18.0, 2: 54.0})


def test_what_spans_decades_is_averaged_geometrically_and_a_cosine_is_not() -> None:
    frame = pd.DataFrame({0: [1.0, 0.2], 1: [100.0, 0.4]})
    assert list(digest.mean(frame, geometric=True)) == pytest.approx([10.0, math.sqrt(0.08)])
    assert list(digest.mean(frame, geometric=False)) == pytest.approx([50.5, 0.3])
    assert RESIDUAL.geometric
    assert not COSINE.geometric


def test_a_seed_that_is_lost_or_zero_is_not_averaged_away() -> None:
    frame = pd.DataFrame({0: [1.0, 1.0, 1.0], 1: [math.inf, math.nan, 0.0]})
    assert list(digest.mean(frame, geometric=True)) == pytest.approx(
        [math.inf, math.nan, 0.0], nan_ok=True
    )


def test_spread_is_the_relative_sample_deviation() -> None:
    frame = pd.DataFrame({0: [1.0, 1.0], 1: [3.0, math.inf]})
    assert list(digest.spread(frame)) == pytest.approx([math.sqrt(2) / 2, math.nan], nan_ok=True)
    assert digest.spread(frame[[0]]).isna().all()


def test_nothing_recorded_is_an_empty_curve() -> None:
    assert GRADIENT.mean(synthetic.profile(backward=False)).empty
    assert digest.weight_gradient(synthetic.profile(backward=False)).empty


def test_weight_gradients_are_weighed_by_their_entries() -> None:
    profile = synthetic.profile(seeds=2)
    one = synthetic.changed(profile, 0.0, direction="weight_grad", statistic="second_moment")
    one = synthetic.changed(one, 4.0, direction="weight_grad", site="mlp_up")
    sizes = {p.label: math.prod(p.shape) for p in block_parameters(profile.config, 0)}
    expected = math.sqrt(4.0 * sizes["mlp_up"] / sum(sizes.values()))
    assert digest.weight_gradient(one).to_dict() == pytest.approx(dict.fromkeys(range(4), expected))


# --- events ---


def test_the_largest_step_is_found_going_up_or_down() -> None:
    flat = synthetic.profile(n_layer=6, growth=1.01)
    assert digest.largest_step(RESIDUAL.mean(flat)) is None
    for factor in (30.0, 1 / 30):
        curve = RESIDUAL.mean(flat)
        curve.loc[3:] *= factor
        step = digest.largest_step(curve)
        assert step is not None
        assert step[0] == 3
        assert step[1] == pytest.approx(factor * 1.01)


def test_steps_from_zero_and_into_infinity_are_no_steps() -> None:
    assert digest.largest_step(pd.Series([0.0, 1.0, 1.5, math.inf, math.nan])) == (2, 1.5)
    assert digest.largest_step(pd.Series([1.0])) is None


def test_the_first_overflow_is_first_in_the_order_of_computation() -> None:
    lost = digest.overflow(synthetic.exploding())
    assert lost == digest.Overflow("forward", 5, "mlp_act", math.inf, 1)
    shuffled = synthetic.exploding().table.sample(frac=1, random_state=1)
    assert digest.overflow(synthetic.with_table(synthetic.exploding(), shuffled)) == lost
    assert digest.overflow(synthetic.profile()) is None


def test_a_gradient_is_lost_from_the_end() -> None:
    profile = synthetic.profile()
    for layer in (0, 1, 2):
        profile = synthetic.changed(profile, math.nan, direction="backward", layer=layer)
    lost = digest.overflow(profile)
    assert lost is not None
    assert (lost.direction, lost.layer, lost.site) == ("backward", 2, "resid_post")
    assert captions.overflow(profile) == "gradient is NaN at layer 2, resid_post"


def test_undefined_statistics_are_no_overflow() -> None:
    profile = synthetic.changed(synthetic.profile(branch=0), math.nan, statistic="branch_ratio")
    assert digest.overflow(profile) is None


def test_growth_needs_something_to_grow_from() -> None:
    curve = pd.Series([2.0, 0.0, 8.0], index=[-1, 0, 1])
    assert digest.growth(curve, -1) == 4.0
    assert digest.growth(curve, 0) is None
    assert digest.growth(curve, 5) is None


@pytest.mark.parametrize("n_layer", [1, 12, 16, 17, 48, 96, 400, 5000])
def test_a_digest_is_short_and_holds_both_ends_and_the_events(n_layer: int) -> None:
    layers = list(range(-1, n_layer))
    event = n_layer * 2 // 3
    chosen = digest.chosen_layers(layers, [event])
    assert chosen == sorted(set(chosen))
    assert {-1, 0, n_layer - 1, event} <= set(chosen)
    assert len(chosen) <= digest.SHOWN_LAYERS + 1
    assert (chosen == layers) == (n_layer <= digest.SHOWN_LAYERS)


# --- words ---


def test_facts_describe_model_and_run() -> None:
    config = GPTConfig(
        n_layer=1, n_embd=128, n_head=4, n_kv_head=2, norm="sandwich", norm_kind="rmsnorm",
        positions="rope", activation="swiglu", tied=False, vocab_size=100, qk_norm=True,
    )  # fmt: skip
    facts = captions.facts(synthetic.profile(config=config, seeds=3))
    for fact in (
        "1 layer", "width 128", "4 heads, 2 for keys", "vocabulary 100", "rope", "untied head",
        "sandwich-norm (rmsnorm)", "swiglu, qk-norm", "seeds 0–2", "float32 on cpu",
    ):  # fmt: skip
        assert fact in facts
    assert "no norm" in captions.facts(synthetic.profile(config=GPTConfig(n_layer=1, norm="none")))


def test_the_parameter_count_is_that_of_gpt2() -> None:
    config = GPTConfig(n_layer=12, vocab_size=50257, bias=True)
    assert "124M parameters" in captions.facts(synthetic.profile(config=config, backward=False))


def test_labels_tell_profiles_apart() -> None:
    deep, shallow = synthetic.profile(n_layer=8), synthetic.profile(n_layer=2)
    wide = synthetic.profile(config=GPTConfig(n_layer=2, n_embd=128, vocab_size=512))
    assert captions.labels([deep, synthetic.profile("xavier", n_layer=8)]) == ["nanogpt", "xavier"]
    assert captions.labels([deep, shallow]) == ["nanogpt n_layer=8", "nanogpt n_layer=2"]
    names = captions.labels([shallow, wide, synthetic.profile("xavier", n_layer=2)])
    assert names == ["nanogpt n_embd=64", "nanogpt n_embd=128", "xavier"]
    assert captions.labels([deep, deep]) == ["nanogpt #1", "nanogpt #2"]
    assert captions.labels([]) == []


def test_only_what_is_shared_is_a_common_fact() -> None:
    common = captions.common_facts([synthetic.profile(n_layer=2), synthetic.profile(n_layer=3)])
    assert "width 64" in common
    assert "2 layers" not in common
    assert captions.common_facts([]) == []


def test_findings_of_a_sound_profile() -> None:
    profile = synthetic.profile(n_layer=4, growth=2.0)
    assert text(profile, "stream") == "variance ×16.0 from the embedding on, ×8.00 from layer 0 on"
    assert text(profile, "step") == "the largest: variance ×2.00 in layer 0"
    assert text(profile, "gradient").startswith("norm 2.50; variance ×16.0 from the last layer")
    assert text(profile, "loss") == "6.27 nat = ln(vocabulary) + 0.0312"
    assert text(profile, "attention") == "entropy 0.960 to 0.990 of its maximum"
    assert not any(note.bad for note in captions.findings(profile))


def test_the_range_names_the_largest_activation() -> None:
    profile = synthetic.changed(
        synthetic.profile(), 131008.0, statistic="max_abs", layer=2, site="norm_2"
    )
    profile = synthetic.changed(profile, -1.0, statistic="headroom_fp16", layer=2, site="norm_2")
    assert text(profile, "range") == (
        "max |x| 1.31e+05 (layer 2, norm_2), 1.00 bit above float16's limit"
    )
    assert [note.label for note in captions.findings(profile) if note.bad] == ["range"]


def test_findings_of_an_overflow() -> None:
    notes = captions.findings(synthetic.exploding())
    assert notes[0] == ("✕ overflow", "overflows float32 at layer 5, mlp_act", True)
    assert "range" not in {note.label for note in notes}
    assert not any("nan" in note.text for note in notes if note.label != "gradient")


def test_an_overflow_of_some_seeds_counts_them() -> None:
    sound, lost = synthetic.profile("x", n_layer=8, seeds=3), synthetic.exploding("x", seeds=1)
    table = pd.concat([sound.table[sound.table["seed"] > 0], lost.table], ignore_index=True)
    mixed = synthetic.with_table(sound, table)
    assert captions.overflow(mixed) == "overflows float32 at layer 5, mlp_act, in 1 of 3 seeds"


def test_nan_in_attention_is_laid_to_its_logits() -> None:
    profile = synthetic.profile(n_layer=3)
    for layer in (1, 2):
        for site in ("attn", "attn_out", "resid_post"):
            profile = synthetic.changed(
                profile, math.nan, direction="forward", layer=layer, site=site
            )
    assert captions.overflow(profile) == "is NaN at layer 1, attn (its logits overflow)"


def test_zero_branches_are_named() -> None:
    profile = synthetic.profile(branch=0)
    assert text(profile, "zero") == (
        "the attention branch adds exactly 0 in every layer; "
        "the MLP branch adds exactly 0 in every layer"
    )
    one = synthetic.changed(synthetic.profile(), 0.0, statistic="branch_ratio", layer=2)
    assert "the MLP branch adds exactly 0 in 1 of 4 layers" in text(one, "zero")


def test_places_outside_the_blocks_have_names() -> None:
    names = [layer_name(layer, 4) for layer in (-1, 0, 3, 4)]
    assert names == ["embedding", "layer 0", "layer 3", "head"]


def test_a_forward_only_profile_says_nothing_of_gradients() -> None:
    assert text(synthetic.profile(backward=False), "gradient") == ""


def test_a_profile_at_another_depth_has_no_findings() -> None:
    profile = synthetic.profile(n_layer=4)
    other = Profile(
        rule=profile.rule, config=profile.config.at_depth(7), run=profile.run, table=profile.table
    )
    assert captions.findings(other) == []
    assert ATTENTION.mean(other).empty
    assert np.isnan(digest.spread(RESIDUAL.seeds(other))).all()
