"""The table of several profiles."""

from __future__ import annotations

import pytest

import synthetic
from initscope.table import compare_report
from printing import body, note, printed


def test_a_row_sums_its_profile_up() -> None:
    profile = synthetic.profile(n_layer=4, growth=4.0, branch=0.5)
    (row,) = body(printed(compare_report([profile])))
    name, curve, final, overall, half, attention, mlp, cosine, gradient, weight, loss = row
    assert name == "nanogpt"
    assert len(curve) == 5
    last = synthetic.value(profile, "resid_post", "variance", 3)
    assert float(final) == pytest.approx(last, rel=5e-3)
    assert float(overall) == 4.0**4
    assert float(half) == 4.0**2
    assert (float(attention), float(mlp), float(cosine)) == (0.5, 0.5, 0.8)
    assert float(gradient) == 4.0**3
    assert float(weight) == 2.0**3
    assert float(loss) == 0.0312


def test_sparklines_share_one_scale() -> None:
    flat = synthetic.profile("flat", n_layer=7, start=1.0, growth=1.0)
    rising = synthetic.profile("rising", n_layer=7, start=1.0, growth=10.0)
    rows = body(printed(compare_report([flat, rising])))
    assert [row[1] for row in rows] == ["▁▁▁▁▁▁▁▁", "▁▂▃▄▅▆▇█"]


def test_a_lost_rule_shows_where() -> None:
    sound, lost = synthetic.profile("sound", n_layer=8), synthetic.exploding("lost")
    text = printed(compare_report([sound, lost]), width=80)
    assert note(text, "lost  ").strip().endswith("overflows float32 at layer 5, mlp_act")
    assert note(text, "sound  over") == ""
    curve, final = next(row[1:3] for row in body(text) if row[0] == "lost")
    assert curve.endswith("✕✕✕")
    assert final == "inf"


def test_what_differs_is_not_claimed_for_all() -> None:
    text = printed(compare_report([synthetic.profile(n_layer=2), synthetic.profile(n_layer=4)]))
    assert "layers ·" not in text
    assert [row[0] for row in body(text)] == ["nanogpt n_layer=2", "nanogpt n_layer=4"]


def test_a_rule_measured_forward_only_has_dashes() -> None:
    both = [synthetic.profile("a"), synthetic.profile("b", backward=False)]
    rows = body(printed(compare_report(both)))
    assert rows[1][-3:-1] == ["–", "–"]
    assert "–" not in rows[0]


def test_verdicts_get_their_column() -> None:
    profiles = [synthetic.profile("a"), synthetic.profile("b")]
    rows = body(printed(compare_report(profiles, verdicts=["bounded", "explodes"])))
    assert [row[-1] for row in rows] == ["bounded", "explodes"]
