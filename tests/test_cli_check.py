"""``initscope check``: its exit codes, what changes them, and its reports."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from command_line import TINY, Command, contents
from initscope.formats import FORMATS
from initscope.store import encode
from synthetic import profile

# A loss of ln(vocab) + 0.03125, held against a bound on either side of it.
LOSS = ("run.json", "--select", "initial-loss")
BROKEN = (*LOSS, "--bound", "loss_excess=0.01")


@pytest.fixture
def cli(cli: Command, tmp_path: Path) -> Command:
    (tmp_path / "run.json").write_bytes(encode([profile()], "json"))
    return cli


# --- exit codes ---


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        (0, LOSS),
        (0, (*LOSS, "--bound", "loss_excess=0.03126")),
        (1, BROKEN),
        (1, ("run.json", "--bound", "loss_excess=0.01")),
        (0, (*BROKEN, "--exit-zero")),
        (0, (*BROKEN, "--level", "initial-loss=warn")),
        (1, (*BROKEN, "--level", "IS007=warn", "--level", "IS007=error")),
        (0, ("run.json", "--bound", "loss_excess=0.01", "--ignore", "initial-loss")),
        (1, ("run.json", "run.json", *BROKEN[1:])),
        (3, ("run.json", "--select", "depth-exponent")),
        (3, ("run.json", "--select", "depth-exponent", "--exit-zero")),
        (2, ("run.json", "--bound", "loss_excess=nan")),
    ],
)  # fmt: skip
def test_the_exit_code_is_the_answer(cli: Command, code: int, flags: tuple[str, ...]) -> None:
    outcome = cli("check", *flags)
    assert outcome.code == code
    assert (outcome.err == "") is (code != 2)
    assert (outcome.out == "") is (code == 2)


def test_what_could_not_be_decided_fails_unless_allowed(cli: Command) -> None:
    one_seed = ("inspect", *TINY, "--rule", "gpt2", "--no-remedy", "--json", "open.json")
    assert cli(*one_seed).code == 0
    open_question = ("check", "open.json", "--select", "depth-exponent")
    outcome = cli(*open_question)
    assert outcome.code == 1
    assert "INCONCLUSIVE" in outcome.out
    assert cli(*open_question, "--allow-inconclusive").code == 0
    assert cli(*open_question, "--exit-zero").code == 0


# --- measuring ---

ONCE = ("--seeds", "1", "--max-seeds", "1", "--no-depth-law", "--select", "initial-loss")


def test_rules_are_measured_and_named(cli: Command) -> None:
    rules = ("--rule", "nanogpt", "--rule", "torch")
    outcome = cli("check", *TINY, *ONCE, *rules, "--device", "cpu", "--format", "json")
    checks = json.loads(outcome.out)["checks"]
    assert [(check["rule"], check["n_layer"]) for check in checks] == [("nanogpt", 2), ("torch", 2)]
    assert [finding["name"] for check in checks for finding in check["findings"]] == [
        "initial-loss", "initial-loss",
    ]  # fmt: skip
    assert [check["status"] for check in checks] == ["kept", "broken"]
    assert outcome.code == 1


def test_seeds_are_added_until_it_is_precise(cli: Command) -> None:
    def seeds(*flags: str) -> int:
        only = ("--select", "depth-exponent", "--allow-inconclusive", "--forward-only")
        flags = (*TINY, *only, "--seeds", "1", "--no-remedy", "--format", "json", *flags)
        return int(json.loads(cli("check", *flags).out)["checks"][0]["seeds"])

    assert seeds("--precision", "0", "--max-seeds", "3") == 3
    assert seeds("--precision", "1e9", "--bound", "depth_exponent=1e9") == 1


SETTINGS = """
[[checks]]
name = "small"
rule = "torch"
n_layer = 2
n_embd = 16
vocab_size = 64
seq_len = 8
seeds = 1
max_seeds = 1
depth_law = false
select = "initial-loss"
"""


@pytest.mark.parametrize(
    ("name", "flags"), [("initscope.toml", ()), ("other.toml", ("--config", "other.toml"))]
)
def test_settings_are_read_and_flags_beat_them(
    cli: Command, tmp_path: Path, name: str, flags: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text(SETTINGS)
    assert cli("check", *flags, "--no-remedy").code == 1
    outcome = cli("check", *flags, "--rule", "nanogpt", "--n-layer", "1")
    assert outcome.code == 0
    assert "small: nanogpt, 1 layer" in outcome.out


# --- reports ---


def test_several_reports_of_one_run(cli: Command, tmp_path: Path) -> None:
    wanted = [f"{name}=report.{name}" for name in FORMATS]
    outcome = cli("check", *BROKEN, *(word for pair in wanted for word in ("--output", pair)))
    assert outcome.code == 1
    assert contents(tmp_path) == sorted([*(f"report.{name}" for name in FORMATS), "run.json"])
    assert outcome.out == (tmp_path / "report.text").read_text()
    suite = ET.fromstring((tmp_path / "report.junit").read_bytes()).find("testsuite")  # noqa: S314
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    (run,) = json.loads((tmp_path / "report.sarif").read_text())["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["IS007"]
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "broken"


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_of_stdout(cli: Command, tmp_path: Path, name: str) -> None:
    outcome = cli("check", *BROKEN, "--format", name, "--output", f"{name}=copy")
    assert outcome.out == (tmp_path / "copy").read_text()
    assert "initial-loss" in outcome.out


def test_under_github_actions_it_annotates_and_adds_to_the_summary(
    cli: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = cli("check", *BROKEN).out
    summary = tmp_path / "summary.md"
    summary.write_text("### another step\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    outcome = cli("check", *BROKEN)
    assert outcome.code == 1
    assert outcome.out == plain
    annotations = [line for line in outcome.err.splitlines() if line.startswith("::")]
    assert len(annotations) == 1
    assert annotations[0].startswith("::error title=initscope")
    for count in (1, 2):
        text = summary.read_text()
        assert text.startswith("### another step\n### initscope: 1 broken")
        assert text.count("### initscope") == count
        cli("check", *BROKEN)


def test_a_baseline_is_saved_and_held_against(cli: Command, tmp_path: Path) -> None:
    def check(growth: float, *flags: str) -> int:
        (tmp_path / "run.json").write_bytes(encode([profile(growth=growth, seeds=3)], "json"))
        return cli("check", *LOSS, *flags).code

    assert check(1.1, "--save-baseline", "baseline.json") == 0
    assert check(1.1, "--baseline", "baseline.json") == 0
    assert check(2.2, "--baseline", "baseline.json") == 1
    assert check(2.2, "--baseline", "baseline.json", "--tolerance", "1e9") == 0
