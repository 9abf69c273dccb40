"""A baseline holds against chance, and not against a change of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import synthetic
from initscope import baseline
from initscope.baseline import comparison
from initscope.config import GPTConfig
from initscope.options import Options
from initscope.profile import Profile
from initscope.rules import Draw, Multipliers, Rule, Site, get_rule
from initscope.rules.variants import times, vary
from initscope.sweep import inspect
from initscope.verdict import Finding, Status

MODEL = GPTConfig(n_layer=4, n_embd=64, vocab_size=97, block_size=16)
SEEDS = 3
NANOGPT = get_rule("nanogpt")

Entry = dict[str, Any]


def measured(rule: Rule = NANOGPT, config: GPTConfig = MODEL, **options: Any) -> Profile:
    chosen = Options(**{"seeds": SEEDS, "depth_law": False, "device": "cpu", **options})
    return inspect(config, replace(rule, name="nanogpt"), chosen)


def part(profile: Profile, seeds: Sequence[int]) -> Profile:
    rows = profile.table[profile.table["seed"].isin(seeds)]
    return replace(profile, run=replace(profile.run, seeds=tuple(seeds)), table=rows)


def entry_of(profile: Profile) -> Entry:
    """Return a profile's entry as it comes back from a file."""
    saved = baseline.dumps(baseline.summarise({"it": profile}))
    entry: Entry = baseline.loads(saved)["checks"]["it"]
    return entry


def held(profile: Profile, entry: Entry | None, tolerance: float = 0.1) -> Finding:
    (finding,) = baseline.compare(profile, entry, tolerance)
    assert (finding.code, finding.name) == ("IS100", "baseline")
    return finding


@pytest.fixture(scope="module")
def many() -> Profile:
    return measured(seeds=39)


@pytest.fixture(scope="module")
def entry(many: Profile) -> Entry:
    return entry_of(part(many, range(36, 36 + SEEDS)))


# --- chance ---


def alarms(many: Profile, size: int, count: int) -> list[bool]:
    """Hold sets of seeds against the set before, and against that before it, at tolerance 0."""
    sets = [part(many, range(size * i, size * (i + 1))) for i in range(count)]
    entries = [entry_of(one) for one in sets]
    pairs = [(i, j) for j in range(count) for i in (j - 1, j - 2) if i >= 0]
    return [held(sets[j], entries[i], 0).status is not Status.KEPT for i, j in pairs]


@pytest.mark.parametrize(("size", "count"), [(1, 12), (3, 12)])
def test_other_seeds_are_no_alarm(many: Profile, size: int, count: int) -> None:
    assert alarms(many, size, count) == [False] * 21


def test_nor_are_they_where_the_signal_varies_most() -> None:
    assert alarms(measured(get_rule("xavier"), seeds=12), size=1, count=12) == [False] * 21


def test_without_a_sampling_error_other_seeds_would_be(
    many: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "SIGMAS", 0.5)
    assert sum(alarms(many, size=3, count=4)) == 5


def test_more_seeds_see_smaller_changes(many: Profile) -> None:
    louder = changed({"q"}, 1.03)
    few, more = (
        held(measured(louder, seeds=n), entry_of(part(many, range(20, 20 + n))), 0) for n in (1, 8)
    )
    assert few.status is Status.KEPT
    assert (more.status, more.site) == (Status.BROKEN, "q")


# --- changes ---


def changed(roles: set[str], factor: float) -> Rule:
    """Return nanoGPT's rule with another std for some roles."""
    return vary(
        NANOGPT, "x", lambda site, draw: times(draw, factor) if site.role in roles else draw
    )


@pytest.mark.parametrize(
    "role", ["wte", "wpe", "q", "k", "v", "attn_out", "mlp_up", "mlp_down"]
)  # fmt: skip
def test_a_fifth_more_std_of_one_role_is_found(entry: Entry, role: str) -> None:
    finding = held(measured(changed({role}, 1.2)), entry)
    assert (finding.status, finding.site) == (Status.BROKEN, role)
    assert finding.value == pytest.approx(0.44, abs=0.1)  # 1.2², give or take the draws'
    assert finding.message.startswith(f"{role} weight second moment at layer {finding.layer} went")


def test_a_lost_residual_scaling_is_found(entry: Entry) -> None:
    finding = held(measured(get_rule("nanogpt-flat")), entry)
    assert finding.status is Status.BROKEN
    assert finding.site in {"attn_out", "mlp_down"}
    assert finding.value == pytest.approx(2 * MODEL.n_layer - 1, rel=0.1)
    assert "attn_out weight second moment" in finding.message
    assert "mlp_down weight second moment" in finding.message


def test_another_embedding_is_found(entry: Entry) -> None:
    finding = held(measured(changed({"wte"}, 0.25)), entry)
    assert (finding.status, finding.site, finding.layer) == (Status.BROKEN, "wte", -1)
    assert "×0.06" in finding.message
    assert "embed variance" in finding.message


def test_a_gain_that_is_no_longer_1_is_found(entry: Entry) -> None:
    def half(site: Site, draw: Draw) -> Draw:
        return Draw.constant(0.5) if site.role == "norm_gain" else draw

    finding = held(measured(vary(NANOGPT, "x", half)), entry)
    assert finding.status is Status.BROKEN
    assert finding.site in {"norm_1", "norm_2", "norm_f"}
    assert "went from 1.00 to 0.250, ×0.250" in finding.message


def test_a_factor_in_the_forward_pass_is_found(entry: Entry) -> None:
    """No weight has changed, so the signal itself is named."""
    rule = replace(NANOGPT, multipliers=lambda _site: Multipliers(embed=2.0))
    finding = held(measured(rule), entry)
    assert (finding.status, finding.site) == (Status.BROKEN, "embed")
    assert finding.value == pytest.approx(3, rel=0.1)


def test_the_tolerance_decides_between_two_that_are_beyond_chance(entry: Entry) -> None:
    profile = measured(changed({"mlp_up"}, 1.2))
    assert held(profile, entry, 0.35).status is Status.BROKEN
    finding = held(part(profile, [0]), entry, 0.6)
    assert (finding.status, finding.bound) == (Status.KEPT, 0.6)
    assert "60%" in finding.message
    assert "seeds then: 3, now: 1" in finding.message


def test_a_weight_is_named_before_the_signal_that_it_moved(many: Profile) -> None:
    profile = part(many, [0, 1])
    moved = synthetic.changed(with_value(profile, 1e9), 1.0, site="q", direction="weight")
    finding = held(moved, entry_of(profile))
    assert finding.site == "q"
    assert finding.message.endswith("; 5 of 61 values moved, also of resid_post variance")


@pytest.mark.parametrize("factor", [1.9, 1 / 1.9, 2.1, 1 / 2.1])
def test_the_tolerance_is_a_factor_up_or_down(factor: float) -> None:
    """A wide model, so that the tolerance is beyond the sampling error: 1 is a factor of 2."""
    profile = synthetic.profile(config=replace(MODEL, n_embd=16384))
    finding = held(with_value(profile, factor), entry_of(with_value(profile, 1.0)), tolerance=1)
    assert finding.failed == (not 0.5 < factor < 2)


def test_the_sampling_error_is_five_of_the_difference_of_two_means(many: Profile) -> None:
    """Of single seeds only the prior is known: sqrt(2 / n) for the variance of n normals."""
    finding = held(measured(changed({"q"}, 1.5), seeds=1), entry_of(part(many, [1])))
    assert finding.error == pytest.approx(math.expm1(5 * math.sqrt(2) * math.sqrt(2 / 64**2)))


# --- what is not a number ---


def with_value(profile: Profile, value: float, layer: int = 1) -> Profile:
    cells = {"site": "resid_post", "direction": "forward", "statistic": "variance"}
    return synthetic.changed(profile, value, layer=layer, **cells)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (0.0, 0.0, ""),
        (math.inf, math.nan, ""),
        (math.nan, math.inf, ""),
        (0.0, 1e-30, "from 0 to 1.00e-30 ("),
        (1e-30, 0.0, "from 1.00e-30 to 0 ("),
        (math.inf, 1.0, "from not finite to 1.00 ("),
        (1.0, math.nan, "from 1.00 to not finite ("),
        (1e300, 1e-300, "from 1.00e+300 to 1.00e-300, ×"),
    ],
)
def test_zero_and_overflow_are_values_too(before: float, after: float, said: str) -> None:
    profile = synthetic.profile(seeds=2)
    finding = held(with_value(profile, after), entry_of(with_value(profile, before)))
    assert finding.status is (Status.BROKEN if said else Status.KEPT)
    assert said in finding.message
    if said:
        assert (finding.site, finding.layer) == ("resid_post", 1)
        assert finding.value is not None
        assert finding.value > 1e6


def test_shares_are_compared_by_their_difference() -> None:
    profile = synthetic.profile(config=replace(MODEL, n_embd=16384))
    cells = {"site": "attn", "statistic": "attention_entropy", "layer": 2}
    finding = held(synthetic.changed(profile, 0.77, **cells), entry_of(profile))
    assert finding.value == pytest.approx(0.2)
    assert finding.message.startswith(
        "attn attention entropy at layer 2 went from 0.970 to 0.770 ("
    )
    kept = held(synthetic.changed(profile, 0.9, **cells), entry_of(profile))
    assert kept.status is Status.KEPT
