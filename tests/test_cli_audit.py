"""initscope audit on the command line: its table, JSON, exit codes and page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from command_line import Command, in_process
from initscope.provenance import faults as faults_module
from initscope.table.audit import audit_report
from planted import audited, scaled, sound
from printing import body, printed
from test_cli_identify import roughly
from test_docs import commands, fenced

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
(MODEL,) = fenced(PAGE, "python")
OWN = ("--model", "model.py:GPT", "--seq-len", "16")


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    healthy = MODEL.replace("self.blocks.apply(self.draw)", "pass").replace('"w3.w', '"w2.w')
    (tmp_path / "healthy.py").write_text(healthy, encoding="utf-8")
    broken = MODEL.replace("x = self.embed(ids)", "raise ValueError('no')")
    (tmp_path / "broken.py").write_text(broken, encoding="utf-8")
    left = MODEL + "\n\ndef left():\n    import torch\n    with torch.device('meta'):\n"
    (tmp_path / "built.py").write_text(MODEL + "\n\nmodel = GPT()\n", encoding="utf-8")
    (tmp_path / "left.py").write_text(left + "        return GPT()\n", encoding="utf-8")
    return in_process(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_table_fits(width: int, encoding: str) -> None:
    for init in (sound, scaled("wo", "w3")):
        text = printed(audit_report(audited(init)), width=width, encoding=encoding)
        assert max(map(len, text.splitlines())) <= width


def test_a_row_shows_what_wrote_it() -> None:
    rows = {row[0]: row[1:] for row in body(printed(audit_report(audited(sound)), width=200))}
    number, std, exponent, writer, times, by, how, where, path = rows["attn_out"]
    assert (number, writer, times, by, how) == ("8", "writes", "2", "fill", "normal_")
    assert (float(std), float(exponent)) == pytest.approx((0.005, -0.5), abs=0.03)
    assert re.fullmatch(r"planted\.py:\d+", where)
    assert path == "layers.*.wo.weight"
    assert rows["norm_1"][-4:-2] == ["PyTorch's LayerNorm", "ones_"]


def test_a_fault_is_marked_in_the_table_and_said_below() -> None:
    text = printed(audit_report(audited(scaled("wo", "w3"))), width=200)
    assert text.splitlines()[0] == "planted: 1 fault"
    marked = [row[0].removeprefix("✕ ") for row in body(text) if row[0].startswith("✕")]
    assert marked == ["mlp_up"]
    assert "scaled-in-vain  mlp_up (layers.*.w3) is depth-scaled" in text


def test_exit_codes(cli: Command) -> None:
    assert cli("audit", *OWN).code == 1
    healthy = cli("audit", "--model", "healthy.py:GPT", "--seq-len", "16")
    assert (healthy.code, healthy.err) == (0, "")
    assert healthy.out.startswith("healthy.py:GPT: no fault found")
    for name, said in (("broken.py:GPT", "ValueError"), ("left.py:left", "on the meta device")):
        ended = cli("audit", "--model", name, "--seq-len", "16")
        assert (ended.code, ended.out) == (3, "")
        assert said in ended.err
        assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "audit looks at a model of your own: name it with --model TARGET"),
        (["--blocks", "h.*"], "--blocks belongs to a model of your own"),
        ([*OWN, "--init", "xavier"], "--rule names the rule that its draw should follow"),
        ([*OWN, "--rule", "nanogtp"], "did you mean 'nanogpt'?"),
        (["--model", "built.py:model"], "is built before it can be watched: name the class or"),
        (["--model", "absent.py:GPT"], "absent.py is not a file"),
    ],
)
def test_a_wrong_request_ends_in_2(arguments: list[str], message: str, cli: Command) -> None:
    ended = cli("audit", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_json(cli: Command) -> None:
    ended = cli("audit", *OWN, "--json", "--rule", "nanogpt", "--meta")
    found = json.loads(ended.out)
    assert (ended.code, ended.err, found["schema"]) == (1, "", 1)
    assert (found["target"], found["n_layer"], found["shallower"]) == ("model.py:GPT", 8, 2)
    codes = {fault["code"] for fault in found["faults"]}
    assert {"written-again", "scaled-in-vain", "not-the-rule", "meta-differs"} == codes
    tensors = {one["paths"][0]: one for one in found["tensors"]}
    one = tensors["blocks.0.w3.weight"]
    assert (one["label"], one["layer"], one["kind"], one["written"]) == (
        "mlp_up",
        0,
        "parameter",
        1,
    )
    assert [write["how"] for write in one["writes"]] == ["kaiming_uniform_", *["normal_"] * 3]
    assert one["writes"][0]["default"] == "Linear.reset_parameters"
    assert one["depth_exponent"] == pytest.approx(-0.5, abs=0.05)
    assert one["width_exponent"] == pytest.approx(0, abs=0.05)
    assert not one["writes_to_stream"]
    assert tensors["blocks.7.w2.weight"]["writes_to_stream"]
    assert len(found["meta"]["tensors"]) == len(found["tensors"])


def test_sites_can_be_shown_first(cli: Command) -> None:
    ended = cli("audit", *OWN, "--print-sites")
    assert ended.code == 0
    assert "output of w3" in ended.out


def test_without_the_depth_law_the_depth_is_left_alone(cli: Command) -> None:
    ended = cli("audit", *OWN, "--no-depth-law", "--json")
    found = json.loads(ended.out)
    assert found["shallower"] is None
    assert {fault["code"] for fault in found["faults"]} == {"written-again"}


# --- the page ---


def test_the_example_on_the_page_gives_what_the_page_shows(
    cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (shown,) = fenced(PAGE, "console")
    command, _, rest = shown.partition("\n")
    expected, _, code = rest.partition("$ echo $?\n")
    ended = cli(*command.removeprefix("$ initscope ").split())
    assert ended.code == int(code)
    ours, theirs = roughly(ended.out), roughly(expected)
    assert len(ours) == len(theirs), "run python docs/record.py docs/audit.md"
    for a, b in zip(ours, theirs, strict=True):
        assert a == (pytest.approx(b, rel=0.03, abs=0.03) if isinstance(b, float) else b)


@pytest.mark.parametrize("words", commands(PAGE), ids=" ".join)
def test_every_command_of_the_page_runs(words: list[str], cli: Command) -> None:
    if any(word.startswith("hf:") for word in words):
        pytest.importorskip("transformers", reason="needs the extra hf")
    ended = cli(*words)
    assert ended.code == ("model.py:GPT" in words), ended.err


def test_the_page_lists_every_fault() -> None:
    folder = Path(faults_module.__file__).parent
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    codes = set(re.findall(r'Fault\(\s*"([a-z-]+)"', sources))
    table = PAGE[PAGE.index("| fault |") : PAGE.index("\n\n", PAGE.index("| fault |"))]
    listed = {
        code
        for row in table.splitlines()[2:]
        for code in re.findall(r"`([a-z-]+)`", row.split("|")[1])
    }
    assert codes == listed
