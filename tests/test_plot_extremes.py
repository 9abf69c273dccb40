"""What is hard to draw: losses, zeros, gaps, and values beyond every limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

import synthetic
from figures import crosses, drawn, legend, panel, points, words
from initscope.errors import UsageError
from initscope.plot import figure
from initscope.plot.panels import FLOAT16
from initscope.profile import Profile


def test_a_loss_is_crossed_at_its_layer_and_named() -> None:
    fig = figure([synthetic.profile("sound", n_layer=8), synthetic.exploding("lost")])
    axes = panel(fig, "residual variance")
    assert crosses(axes) == [5]
    assert "5" in words(axes)
    assert all(math.isfinite(value) == (layer < 5) for layer, value in drawn(axes, 1).items())
    assert legend(fig) == ["sound", "lost (✕ layer 5, mlp_act)"]
    assert crosses(panel(fig, "MLP activation variance")) == [5]
    assert crosses(panel(fig, "gradient variance")) == [7]


def test_a_lost_gradient_is_crossed_where_it_is_lost_first() -> None:
    profile = synthetic.profile(n_layer=6)
    for layer in (-1, 0, 1, 2):
        profile = synthetic.changed(profile, math.inf, direction="backward", layer=layer)
    fig = figure([profile])
    assert crosses(panel(fig, "gradient variance")) == [2]
    assert crosses(panel(fig, "residual variance")) == []
    assert legend(fig) == ["nanogpt (✕ gradient, layer 2, resid_post)"]


def test_one_lost_seed_leaves_the_others_band() -> None:
    profile = synthetic.profile(n_layer=4, seeds=3, start=1.0, growth=1.0)
    profile = synthetic.changed(profile, math.inf, seed=2, layer=3, site="resid_post")
    axes = panel(figure([profile]), "residual variance")
    assert crosses(axes) == [3]
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.x1, band.y1) == (3, pytest.approx(1.04))


def test_zero_has_no_place_on_a_log_axis_and_is_named() -> None:
    fig = figure([synthetic.profile("zero-init", branch=0), synthetic.profile("other")])
    for title in ("attention branch", "MLP branch"):
        axes = panel(fig, title)
        assert "exactly 0: zero-init" in words(axes)
        assert np.isnan(list(drawn(axes, 0).values())).all()
        assert axes.get_ylim()[0] > 0
    alone = figure([synthetic.profile("zero-init", branch=0)])
    assert "exactly 0" in words(panel(alone, "MLP branch"))


def test_what_was_not_recorded_is_said() -> None:
    axes = panel(figure([synthetic.profile(backward=False)]), "gradient variance")
    assert words(axes) == {"not recorded"}
    assert list(axes.get_yticks()) == []


def test_healthy_bands_and_limits_are_named() -> None:
    fig = figure([synthetic.profile(growth=1.1)])
    assert {"overwrites the stream ↑", "lost in bfloat16 ↓"} <= words(panel(fig, "MLP branch"))
    assert "tokens collapse ↑" in words(panel(fig, "token cosine"))
    assert words(panel(fig, "residual variance")) == set()
    huge = figure([synthetic.profile(start=1.0, growth=1e6)])
    axes = panel(huge, "residual variance")
    assert words(axes) == {"beyond float16 ↑"}
    assert FLOAT16 in [points(line)[0, 1] for line in axes.lines]


@pytest.mark.parametrize(
    "profile",
    [
        synthetic.exploding(seeds=2),
        synthetic.profile(overflow=(-1, "embed")),
        synthetic.profile(start=1e-45, growth=1e-40, n_layer=3),
        synthetic.profile(start=1e-290, growth=1e100, n_layer=2),
        synthetic.profile(start=0.0, branch=0.0),
        synthetic.with_table(synthetic.profile(), synthetic.profile().table.iloc[:0]),
        synthetic.profile("_$x_{$ [b]"),
    ],
    ids=["exploding", "lost at once", "vanishing", "all floats", "all zero", "empty", "odd name"],
)
def test_the_extreme_is_drawn_without_complaint(profile: Profile) -> None:
    fig = figure([profile])
    fig.draw_without_rendering()
    assert legend(fig)[0].startswith(profile.rule)


def test_no_profile_is_no_figure() -> None:
    with pytest.raises(UsageError, match="at least one profile"):
        figure([])
