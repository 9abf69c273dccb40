"""initscope identify: its table at every width, its JSON, its exit codes, and its page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from checkpoints import SIZE, faulty, model
from command_line import Command
from initscope import identify
from initscope.origin import words
from initscope.origin.document import document
from initscope.origin.result import Identification
from initscope.table.origin import identify_report
from printing import body, printed

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "identify.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def fitting() -> Identification:
    return identify(model("torchtitan-llama3"))


@pytest.fixture(scope="module")
def broken() -> Identification:
    return identify(faulty(lambda x: x * (2 * SIZE["n_layer"]) ** 0.5, "attn_out"))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_table_fits(
    fitting: Identification, broken: Identification, width: int, encoding: str
) -> None:
    for found in (fitting, broken):
        text = printed(identify_report(found), width=width, encoding=encoding)
        assert max(map(len, text.splitlines())) <= width
        start = next(
            i for i, line in enumerate(text.splitlines()) if set(line) <= set("─- ") and line
        )
        rows = text.splitlines()[start + 1 :][: len(found.groups)]
        assert [row.split()[0] for row in rows] == [group.label for group in found.groups]


def test_a_row_shows_what_was_measured_beside_what_is_prescribed(fitting: Identification) -> None:
    rows = {row[0]: row[1:] for row in body(printed(identify_report(fitting), width=120))}
    measured, prescribed = (re.split(" → ", cell) for cell in rows["attn_out"][1:3])
    assert prescribed == ["0.0141", "0.00707"]
    assert [float(x) for x in measured] == pytest.approx([0.0141, 0.00707], rel=0.05)
    assert rows["head"][0] == "truncated ±3.0 σ"
    assert rows["norm_1"][:3] == ["constant 1", "–", "constant 1"]


def test_a_misfit_is_marked_and_said(broken: Identification) -> None:
    text = printed(identify_report(broken), width=120)
    rows = {row[0]: row[1:] for row in body(text)}
    assert rows["attn_out"][2] == "✕ 0.00707"
    assert rows["mlp_down"][2] == "0.00707"
    assert text.splitlines()[0] == "none fits; nearest is nanogpt (10 of 11 groups)"
    assert "theresidualscalingwaslost;matchesnanogpt-flat" in "".join(text.split())


def test_exit_codes_say_whether_a_rule_fits(tmp_path: Path, cli: Command) -> None:
    torch.save(model().state_dict(), tmp_path / "fits.pt")
    torch.save(faulty(lambda x: x * 3, "attn_out").state_dict(), tmp_path / "none.pt")
    (tmp_path / "damaged.pt").write_bytes(b"PK\x03\x04")
    fits, none, damaged = (cli("identify", f"{name}.pt") for name in ("fits", "none", "damaged"))
    assert (fits.code, none.code, damaged.code) == (0, 1, 3)
    assert fits.out.startswith("fits: nanogpt")
    assert none.out.startswith("none fits; nearest is nanogpt")
    assert damaged.err.startswith("initscope: error: cannot read damaged.pt")
    assert damaged.err.count("\n") == 1
    assert (fits.err, none.err, damaged.out) == ("", "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.pt"], "there is no such file"),
        (["a.pt", "--n-head", "7"], "64 of the attention is not a multiple of --n-head 7"),
        (["a.pt", "--top", "0"], "--top"),
    ],
)
def test_a_wrong_request_ends_in_2(
    arguments: list[str], message: str, tmp_path: Path, cli: Command
) -> None:
    torch.save(model().state_dict(), tmp_path / "a.pt")
    outcome = cli("identify", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_json(tmp_path: Path, cli: Command) -> None:
    torch.save(faulty(lambda x: x * 3, "attn_out").state_dict(), tmp_path / "a.pt")
    outcome = cli("identify", "a.pt", "--json", "--top", "2", "--n-head", "4")
    found = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (1, "")
    assert (found["schema"], found["fits"], found["source"]) == (1, [], "a.pt")
    assert found["model"]["n_layer"] == SIZE["n_layer"]
    assert len(found["matches"]) == 2
    best = found["matches"][0]
    assert "nanogpt" in best["rules"]
    (misfit,) = best["misfits"]
    assert (misfit["group"], misfit["fault"]) == ("attn_out", "the std is off by ×3")
    assert misfit["layers"] == list(range(SIZE["n_layer"]))
    assert misfit["log10_p"] < -100
    groups = {group["group"]: group for group in found["groups"]}
    assert groups["wte"]["distribution"] == "normal"
    assert groups["wte"]["parameters"] == ["embedding.wte.weight"]
    assert groups["wte"]["std"][0] == pytest.approx(0.02, rel=0.03)
    assert "nanogpt" in groups["q"]["fitting"]


def test_json_of_what_is_not_finite_is_strict() -> None:
    found = identify(faulty(lambda x: x * float("nan"), "attn_out"))
    text = json.dumps(document(found, 3), allow_nan=False)
    assert json.loads(text)["matches"][0]["misfits"][0]["measured"] is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_is_named(dtype: torch.dtype) -> None:
    found = identify(model(n_layer=1).to(dtype))
    assert words.facts(found)[-1] == str(dtype).removeprefix("torch.")


def test_top_says_how_many_rules(broken: Identification) -> None:
    for top in (1, 4):
        names = body(printed(identify_report(broken, top=top), width=300))[0]
        assert len(names) == 3 + top + 1


# --- the page ---


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def roughly(text: str) -> list[str | float]:
    """Split a text into words and numbers; another machine draws to the last bit otherwise."""
    return [
        float(word) if re.fullmatch(r"[\d.]+", word) else word
        for word in re.findall(r"\d+\.\d+|[^\s]+?(?=\d+\.\d+)|\S+", text)
    ]


def test_the_example_on_the_page_gives_what_the_page_shows(
    cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    script, *_ = fenced("python")
    exec(compile(script, "docs/identify.md", "exec"), {})  # noqa: S102 - our own document
    for shown in fenced("console"):
        command, _, rest = shown.partition("\n")
        expected, _, code = rest.partition("$ echo $?\n")
        outcome = cli(*command.removeprefix("$ initscope ").split())
        assert outcome.code == int(code or 0)
        ours, theirs = roughly(outcome.out), roughly(expected)
        assert len(ours) == len(theirs), "run python docs/record.py docs/identify.md"
        for a, b in zip(ours, theirs, strict=True):
            assert a == (pytest.approx(b, rel=0.02) if isinstance(b, float) else b)


def test_python_on_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for script in fenced("python"):
        exec(compile(script, "docs/identify.md", "exec"), space)  # noqa: S102 - our own document
