"""Markdown as GitHub shows it, and its workflow commands as its runner reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from initscope.formats import Named, as_github, as_markdown, render
from samples import BROKEN, EVERY_KIND, INCONCLUSIVE, KEPT, NASTIEST, TAMED, WARNED, broken

# --- Markdown ---


def html(checks: Sequence[Named]) -> ET.Element:
    """Show a summary as GitHub does, and read it back."""
    shown = MarkdownIt("commonmark").enable("table").render(render(checks, "markdown"))
    return ET.fromstring(f"<body>{shown}</body>")  # noqa: S314 - our own


def texts(element: ET.Element, path: str) -> list[str]:
    return ["".join(one.itertext()).strip() for one in element.findall(path)]


def test_markdown_has_a_row_a_check() -> None:
    rows = [texts(row, "td") for row in html(EVERY_KIND).findall("table/tbody/tr")]
    assert [row[0].split(" ", 1)[1] for row in rows] == [str(one.status) for one in EVERY_KIND]
    assert [row[1] for row in rows] == [*(one.name for one in EVERY_KIND[:-1]), TAMED]
    assert rows[0][2] == KEPT.verdict.headline
    assert {len(row) for row in rows} == {3}


def test_markdown_folds_the_details_of_what_is_not_kept() -> None:
    folded = html([KEPT, BROKEN]).findall("details")
    assert texts(folded[0], "summary") == ["❌ broken: wide: kaiming"]
    assert len(folded) == 1
    items = texts(folded[0], "ul/li")
    assert items[0] == "broken G1 check G1: the exponent is inf (layer 5, mlp_act)"
    assert items[-1] == "remedy: divide attn_out and mlp_down by sqrt(2·n_layer)"


def test_markdown_shows_nasty_texts_as_they_are() -> None:
    page = html([NASTIEST])
    assert texts(page, "details/ul/li")[1] == f"reason: because {TAMED}"
    assert texts(page, "details/summary") == [f"❌ broken: {TAMED}"]
    # A tag, emphasis, code or link among them would be an element within the text.
    assert not [*page.findall(".//td/*"), *page.findall(".//li/*"), *page.findall(".//summary/*")]


@pytest.mark.parametrize(
    "checks",
    [
        [broken(f"check {n}", *("ABCDEFGH" * 20)) for n in range(300)],
        [Named("x" * 700, KEPT.verdict)] * 2000,
        [Named("一" * (1 << 19), KEPT.verdict)],
    ],
)
def test_markdown_stays_within_the_size_of_a_summary(checks: list[Named]) -> None:
    output = render(checks, "markdown")
    assert len(output.encode()) <= as_markdown.LIMIT == 1024**2
    assert output.endswith("cut off here, at the size limit of a job summary.*\n")
    assert output.startswith(f"### initscope: {len(checks)} ")
    assert output.count("<details>") == output.count("</details>")


def test_markdown_is_cut_only_if_it_must_be() -> None:
    room = as_markdown.LIMIT - len(render([Named("", KEPT.verdict)], "markdown").encode())
    whole = render([Named("x" * room, KEPT.verdict)], "markdown")
    assert len(whole.encode()) == as_markdown.LIMIT
    assert "cut off" not in whole
    longer, more = [Named("x" * (room + 1), KEPT.verdict)], [Named("x" * room, KEPT.verdict), KEPT]
    for output in (render(longer, "markdown"), render(more, "markdown")):
        assert "cut off" in output
        assert len(output.encode()) <= as_markdown.LIMIT


# --- GitHub ---

COMMAND = re.compile(r"::(error|warning) title=([^:,\r\n]*)::([^\r\n]*)")


def commands(checks: Sequence[Named]) -> list[tuple[str, ...]]:
    """Read the workflow commands as the runner does: (kind, title, message)."""
    lines = [line for line in render(checks, "github").splitlines() if line.startswith("::")]
    matches = [COMMAND.fullmatch(line) for line in lines]
    return [tuple(map(unescaped, match.groups())) for match in matches if match]


def unescaped(text: str) -> str:
    for code, mark in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, mark)
    return text


def test_github_has_one_annotation_a_check_that_needs_attention() -> None:
    found = commands(EVERY_KIND)
    assert [(kind, title) for kind, title, _ in found] == [
        ("error", "initscope: wide: kaiming"),
        ("error", f"initscope: {TAMED}"),
        ("warning", "initscope: one seed"),
        ("warning", "initscope: warned"),
        ("warning", "initscope: forward only"),
    ]
    assert found[0][2].splitlines()[1:2] == [
        "broken G1 check G1: the exponent is inf (layer 5, mlp_act)"
    ]
    assert len(render(EVERY_KIND, "github").splitlines()) == len(found) + 1


def test_github_escapes_as_the_toolkit_does() -> None:
    check = broken("100%, a:b", "50%")
    line = render([check], "github").splitlines()[0]
    assert line.startswith("::error title=initscope%3A 100%25%2C a%3Ab::nanogpt, 8 layers: ")
    assert line.endswith("(3 seeds)%0Abroken 50%25 check 50%25: 50%25 is broken")


def test_github_of_what_is_kept_is_the_count() -> None:
    assert render([KEPT], "github") == "1 kept\n"


def test_github_without_a_check_is_an_error() -> None:
    assert render([], "github") == "::error title=initscope::no check ran\nno check ran\n"


@pytest.mark.parametrize(("kind", "check"), [("error", broken("one")), ("warning", INCONCLUSIVE)])
def test_github_says_how_many_annotations_would_be_hidden(kind: str, check: Named) -> None:
    ten = commands([check] * 10)
    assert len(ten) == as_github.LIMIT == 10
    assert not [message for _, _, message in ten if "more" in message]
    *first, last = commands([check] * 13)
    assert {said for said, _, _ in (*first, last)} == {kind}
    assert len(first) == 9
    assert last[2].splitlines()[-1].startswith("and 3 more: ")
    assert not [message for _, _, message in first if "more" in message]


def test_github_counts_errors_and_warnings_apart() -> None:
    kinds = [kind for kind, _, _ in commands([broken("one"), WARNED] * 12)]
    assert (kinds.count("error"), kinds.count("warning")) == (10, 10)
