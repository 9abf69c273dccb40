"""The figure: what is drawn are the profile's numbers, whatever they are."""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.colors import to_rgb

import synthetic
from figures import drawn, legend, panel, points
from initscope.errors import UsageError
from initscope.plot import figure, save_bytes
from initscope.plot.panels import MARKERS, MARKS, PALETTE, PANELS, line_style

TITLES = [panel.curve.title for panel in PANELS]
SIMPLE, SAME = (figure([synthetic.profile()]) for _ in range(2))
FORMATS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize(
    ("title", "site", "direction", "statistic"),
    [
        ("residual variance", "resid_post", "forward", "variance"),
        ("attention branch", "attn_out", "forward", "branch_ratio"),
        ("MLP branch", "mlp_down", "forward", "branch_ratio"),
        ("MLP activation variance", "mlp_act", "forward", "variance"),
        ("gradient variance", "resid_post", "backward", "variance"),
        ("token cosine", "resid_post", "forward", "token_cosine"),
    ],
)
def test_a_panel_draws_the_profiles_numbers(
    title: str, site: str, direction: str, statistic: str
) -> None:
    curve = drawn(panel(SIMPLE, title))
    for layer in range(4):
        value = synthetic.value(synthetic.profile(), site, statistic, layer, direction)
        assert curve[layer] == pytest.approx(value)


def test_the_stream_starts_at_the_embedding() -> None:
    axes = panel(figure([synthetic.profile(start=8e-4)]), "residual variance")
    assert drawn(axes)[-1] == pytest.approx(8e-4)
    assert axes.get_xticklabels()[0].get_text() == "emb"


def test_seeds_become_a_mean_and_a_band() -> None:
    axes = panel(figure([synthetic.profile(seeds=4, start=1.0, growth=1.0)]), "residual variance")
    seeds = [1.0, 1.02, 1.04, 1.06]
    assert drawn(axes)[0] == pytest.approx(math.prod(seeds) ** 0.25)
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (pytest.approx(1.0), pytest.approx(1.06))


def test_the_caption_says_what_bands_are_where_there_are_any() -> None:
    for seeds, expected in ((1, False), (2, True)):
        title = figure([synthetic.profile(seeds=seeds)]).legends[0].get_title().get_text()
        assert ("bands: lowest to highest seed" in title) is expected
        assert "4 layers · width 64" in title


def test_every_axis_is_labelled_and_variances_are_logarithmic() -> None:
    assert [axes.get_title() for axes in SIMPLE.axes] == TITLES
    for axes in SIMPLE.axes:
        assert axes.get_ylabel()
        assert axes.get_yscale() == ("linear" if axes.get_title() == "token cosine" else "log")
    assert [axes.get_xlabel() for axes in SIMPLE.axes[3:]] == ["layer"] * 3


def test_noise_never_fills_a_panel() -> None:
    low, high = panel(figure([synthetic.profile(growth=1.001)]), "residual variance").get_ylim()
    assert high / low >= 9.99


@pytest.mark.parametrize("n_layer", [1, 2, 48, 400])
def test_markers_are_few_and_ticks_are_layers(n_layer: int) -> None:
    axes = panel(figure([synthetic.profile(n_layer=n_layer, growth=1.01)]), "residual variance")
    every: Any = axes.lines[0].get_markevery()
    marked = list(drawn(axes))[every[0] :: every[1]]
    assert 1 <= len(marked) <= max(MARKS + 2, min(n_layer + 1, 2 * MARKS))
    ticks = axes.get_xticks()
    assert 2 <= len(ticks) <= 8
    assert set(ticks) <= set(range(-1, n_layer))


def test_rules_differ_in_colour_and_without_it() -> None:
    styles = [line_style(place) for place in range(len(PALETTE))]
    assert len({style["color"] for style in styles}) == len(PALETTE)
    assert len({style["marker"] for style in styles}) == len(PALETTE)
    for one, other in itertools.pairwise(styles):
        assert one["linestyle"] != other["linestyle"]
    assert "X" not in MARKERS, "a cross marks a loss"


def test_eight_rules_are_named() -> None:
    profiles = [synthetic.profile(f"rule-{i}", growth=1 + i / 10) for i in range(8)]
    fig = figure(profiles)
    assert legend(fig) == [f"rule-{i}" for i in range(8)]
    assert fig.get_suptitle() == "rule-0, rule-1, rule-2 and 5 more"


def test_theory_that_ends_at_the_embedding_is_not_in_the_legend() -> None:
    whole = synthetic.profile("a")
    start = replace(whole, table=whole.table[whole.table.layer < 0])
    fig = figure([whole], theory=[start])
    assert legend(fig) == ["a"]
    assert "theory" not in fig.legends[0].get_title().get_text()


def test_theory_is_dotted_in_the_colour_of_its_rule() -> None:
    profiles = [synthetic.profile("a"), synthetic.profile("b", start=1.0)]
    fig = figure(profiles, theory=[synthetic.profile("b", start=2.0), synthetic.profile("other")])
    axes = panel(fig, "residual variance")
    (line,) = [line for line in axes.lines if line.get_marker() == "None"]
    assert to_rgb(line.get_color()) == to_rgb(PALETTE[1])
    assert points(line)[0, 1] == pytest.approx(2.0)
    assert legend(fig) == ["a", "b", "theory"]


# --- bytes ---


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_profile_gives_the_same_bytes_without_a_date(kind: str) -> None:
    first, second = save_bytes(SIMPLE, kind), save_bytes(SAME, kind)
    assert first.startswith(FORMATS[kind])
    assert first == second
    assert b"<dc:date>" not in first
    assert b"CreationDate" not in first


@pytest.mark.parametrize("kind", ["jpeg", "", "json"])
def test_another_format_is_a_usage_error(kind: str) -> None:
    with pytest.raises(UsageError, match="png, svg, pdf"):
        save_bytes(SIMPLE, kind)


def test_the_users_own_style_is_neither_used_nor_changed() -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        fig = figure([synthetic.profile()])
        assert mpl.rcParams["font.size"] == 30
    assert fig.axes[0].get_facecolor() == SIMPLE.axes[0].get_facecolor()
    sizes = {axes.xaxis.label.get_fontsize() for axes in (fig.axes[0], SIMPLE.axes[0])}
    assert len(sizes - {30}) == 1


def test_nothing_is_opened_or_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    assert save_bytes(figure([synthetic.profile()]), ".SVG").startswith(FORMATS["svg"])
    assert list(tmp_path.iterdir()) == []
