"""The table of one profile: its numbers are the profile's, and it fits what it is printed on."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console, RenderableType

import synthetic
from initscope.table import compare_report, inspect_report
from printing import NUMBER, body, header, note, numbers, printed

WIDTHS = (40, 60, 80, 100, 120, 200)

ALL = {
    "sound": synthetic.profile(n_layer=8, seeds=3),
    "deep": synthetic.profile(n_layer=48, growth=1.2),
    "exploding": synthetic.exploding(seeds=2),
    "collapsing": synthetic.profile(n_layer=8, growth=1e-5),
    "zero": synthetic.profile(branch=0),
    "forward only": synthetic.profile(backward=False),
    "one layer": synthetic.profile(n_layer=1),
}
every_report = pytest.mark.parametrize(
    "report",
    [
        *(inspect_report(profile, verdict=["×2"]) for profile in ALL.values()),
        compare_report(list(ALL.values()), verdicts=list(ALL)),
        compare_report([synthetic.profile("a-rule-of-a-longer-name"), synthetic.profile()]),
    ],
    ids=[*ALL, "compare", "compare two"],
)


# --- inspect ---


def test_every_number_of_a_row_is_the_profiles() -> None:
    profile = synthetic.profile(n_layer=5, growth=3.0)
    rows = body(printed(inspect_report(profile)))
    assert [row[0] for row in rows] == ["embed", "▲ 0", "1", "2", "3", "4"]
    for layer, row in enumerate(rows[1:]):
        residual, bar, attention, mlp, activation, cosine, gradient, weight = row[1:]
        assert set(bar) <= set("▏▎▍▌▋▊▉█")
        for shown, site, statistic, direction in (
            (residual, "resid_post", "variance", "forward"),
            (attention, "attn_out", "branch_ratio", "forward"),
            (mlp, "mlp_down", "branch_ratio", "forward"),
            (activation, "mlp_act", "variance", "forward"),
            (cosine, "resid_post", "token_cosine", "forward"),
            (gradient, "resid_post", "variance", "backward"),
        ):
            value = synthetic.value(profile, site, statistic, layer, direction)
            assert float(shown) == pytest.approx(value, rel=5e-3)
        square = synthetic.value(profile, "mlp_up", "second_moment", layer, "weight_grad")
        assert float(weight) == pytest.approx(math.sqrt(square), rel=5e-3)


def test_the_embedding_shows_what_it_has() -> None:
    profile = synthetic.profile()
    row = body(printed(inspect_report(profile)))[0]
    assert float(row[1]) == pytest.approx(synthetic.value(profile, "embed", "variance", -1))
    assert row[3:6] == ["–", "–", "–"]


def test_seeds_are_averaged_and_their_spread_is_shown() -> None:
    text = printed(inspect_report(synthetic.profile(seeds=2, start=1.0)))
    assert "± over" in text
    embedding = body(text)[0]
    # Seeds are 1 and 1.02: geometric mean 1.00995, relative deviation 0.0141 / 1.01.
    assert embedding[1:3] == ["1.01", "1.4%"]
    assert "± over" not in printed(inspect_report(synthetic.profile(seeds=1)))


def test_bars_share_one_logarithmic_scale() -> None:
    text = printed(inspect_report(synthetic.profile(n_layer=4, start=1.0, growth=10.0)))
    assert "1 → 1e+04" in text
    assert [len(row[2]) for row in body(text)[1:]] == [6, 12, 18, 24]


@pytest.mark.parametrize("n_layer", [17, 48, 400])
def test_a_deep_profile_is_digested_unless_all_layers_are_asked_for(n_layer: int) -> None:
    profile = synthetic.profile(n_layer=n_layer, growth=1.01)
    jump = n_layer - 3
    for layer in range(jump, n_layer):
        value = 9.0 + layer / 100
        profile = synthetic.changed(profile, value, layer=layer, site="resid_post")
    short = printed(inspect_report(profile), width=80)
    shown = [row[0] for row in body(short)]
    assert {"embed", "0", f"▲ {jump}", str(n_layer - 1)} <= set(shown)
    assert len(shown) <= 17
    assert note(short, "rows").split()[:3] == [str(len(shown)), "of", f"{n_layer + 1},"]
    whole = printed(inspect_report(profile, all_layers=True), width=80)
    assert len(body(whole)) == n_layer + 1
    assert note(whole, "rows") == ""


def test_the_layer_of_an_overflow_is_marked_and_named() -> None:
    text = printed(inspect_report(synthetic.exploding()), width=80)
    rows = {row[0]: row for row in body(text)}
    assert rows["✕ 5"][1] == "inf"
    assert "nan" in rows["✕ 5"]
    assert "overflows float32 at layer 5, mlp_act" in note(text, "✕ overflow")


def test_what_is_not_finite_is_red() -> None:
    console = Console(width=200, file=io.StringIO())
    segments = list(console.render(inspect_report(synthetic.exploding())))
    found = [segment for segment in segments if segment.text.strip() in {"inf", "nan"}]
    assert found
    for segment in found:
        assert segment.style is not None
        assert segment.style.color is not None
        assert segment.style.color.name == "red"
    finite = [segment for segment in segments if NUMBER.match(segment.text.strip())]
    assert {s.style.color is None for s in finite if s not in found and s.style} <= {True}


def test_a_zero_branch_is_a_zero_and_is_named() -> None:
    text = printed(inspect_report(synthetic.profile(branch=0)))
    assert [row[3:5] for row in body(text)[1:]] == [["0", "0"]] * 4
    assert "the MLP branch adds exactly 0 in every layer" in text


def test_without_a_backward_pass_there_are_no_gradient_columns() -> None:
    assert "gradient" in printed(inspect_report(synthetic.profile()))
    assert "gradient" not in printed(inspect_report(synthetic.profile(backward=False)))


def test_one_layer_is_enough() -> None:
    text = printed(inspect_report(synthetic.profile(n_layer=1, growth=2.0)), width=80)
    assert [row[0] for row in body(text)] == ["embed", "▲ 0"]
    assert "variance ×2.00 from the embedding on" in text


def test_the_verdict_has_the_last_word() -> None:
    text = printed(inspect_report(synthetic.profile(), verdict=["bounded: all is well"]))
    assert text.splitlines()[-2:] == ["", "bounded: all is well"]


def test_a_name_is_taken_literally() -> None:
    profile = synthetic.profile("[bold]mine[/]")
    for report in (inspect_report(profile), compare_report([profile])):
        assert "[bold]mine[/]" in printed(report)


def test_nothing_recorded_is_an_empty_table() -> None:
    profile = synthetic.profile()
    empty = synthetic.with_table(profile, profile.table.iloc[:0])
    assert body(printed(inspect_report(empty))) == []
    assert body(printed(compare_report([empty]))) == [["nanogpt", "–"]]


def test_reports_do_not_print(capsys: pytest.CaptureFixture[str]) -> None:
    inspect_report(synthetic.profile())
    compare_report([synthetic.profile()])
    assert capsys.readouterr() == ("", "")


# --- fitting ---


@every_report
def test_a_report_fits_and_cuts_no_number(report: RenderableType) -> None:
    roomy = printed(report, 400)
    for width in WIDTHS:
        text = printed(report, width)
        assert max(map(len, text.splitlines())) <= width
        assert numbers(text)
        assert set(numbers(text)) <= set(numbers(roomy))
        assert len(body(text)) == len(body(roomy))


def test_names_give_way_to_numbers() -> None:
    profiles = [synthetic.profile("a" * 60), synthetic.profile("b")]
    rows = body(printed(compare_report(profiles), 40))
    assert rows[0][0] == "a" * 29 + "…"
    assert rows[1][0] == "b"
    last = synthetic.value(profiles[0], "resid_post", "variance", 3)
    assert [float(row[1]) for row in rows] == pytest.approx([last, last], rel=5e-3)


def test_a_wider_terminal_shows_more_and_a_narrower_one_says_so() -> None:
    report = inspect_report(synthetic.profile(seeds=2))
    narrow, wide = printed(report, 80), printed(report, 130)
    assert "token cosine" in note(narrow, "columns")
    assert "cosine" not in header(narrow)
    assert "cosine" in header(wide)
    assert note(wide, "columns") == ""


def test_a_width_can_be_asked_for_but_not_beyond_the_consoles() -> None:
    profile = synthetic.profile()
    assert printed(inspect_report(profile, width=60), 200) == printed(inspect_report(profile), 60)
    assert printed(inspect_report(profile, width=200), 60) == printed(inspect_report(profile), 60)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@every_report
def test_ascii_will_do(report: RenderableType, encoding: str) -> None:
    text = printed(report, 200, encoding)
    assert text.isascii()
    assert "?" not in text
    assert "---" in text
    assert numbers(text) == numbers(printed(report, 200))
    assert max(map(len, printed(report, 80, encoding).splitlines())) <= 80
