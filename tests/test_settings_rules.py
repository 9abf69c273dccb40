"""Rules of one's own in a settings file, and every command that takes their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import TINY, Command
from initscope.errors import UsageError
from initscope.rules import Draw, Rule, get_rule
from initscope.settings import load_rules, load_settings
from initscope.sites import all_parameters
from initscope.store import load

OWN = """
[tool.initscope.rules.later]  # based on what comes after it
base = "mine:wpe.std=0.5"
kind = "truncated_normal"
cut = 3

[tool.initscope.rules.mine]
base = "nanogpt"
attn_out.std = "0.02 / sqrt(n_embd)"
wte = { std = 1, kind = "uniform" }
branch_attn = "1/sqrt(2*n_layer)"
norm = "post"
source = "our notebook"
"""
QUICK = ("--seq-len", "8", "--device", "cpu", "--no-depth-law", "--no-remedy")


@pytest.fixture
def cli(cli: Command, tmp_path: Path) -> Command:
    (tmp_path / "pyproject.toml").write_text(OWN, encoding="utf-8")
    return cli


def rules(folder: Path, text: str, name: str = "initscope.toml") -> dict[str, Rule]:
    (folder / name).write_text(text, encoding="utf-8")
    return load_rules(folder)


def complaint(folder: Path, text: str) -> str:
    (folder / "initscope.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_settings(start=folder)
    return str(caught.value)


@pytest.mark.parametrize("name", ["pyproject.toml", "initscope.toml"])
def test_rules_are_read_from_either_file(tmp_path: Path, name: str) -> None:
    text = OWN if name == "pyproject.toml" else OWN.replace("tool.initscope.", "")
    own = rules(tmp_path, text, name)
    assert load_settings(start=tmp_path).rules.keys() == own.keys() == {"later", "mine"}
    mine, later = own["mine"], own["later"]
    assert (mine.source, mine.architecture) == ("our notebook", {"norm": "post"})
    assert "attn_out.std = 0.02 / sqrt(n_embd)" in mine.summary
    same = get_rule(
        "nanogpt:attn_out.std=0.02/sqrt(n_embd),wte.std=1,wte.kind=uniform,"
        "branch_attn=1/sqrt(2*n_layer),norm=post"
    )
    config = load_settings(start=tmp_path).checks[0].config(mine, 4)
    assert config.norm == "post"
    for parameter in all_parameters(config):
        assert mine.draw(parameter.site) == same.draw(parameter.site)
        assert mine.multipliers(parameter.site) == same.multipliers(parameter.site)
    wpe = next(p for p in all_parameters(config) if p.label == "wpe")
    assert later.draw(wpe.site) == Draw.truncated_normal(0.5, 3.0)


def test_a_check_of_the_file_may_name_them(tmp_path: Path) -> None:
    text = OWN.replace("tool.initscope.", "") + (
        "[check]\nrule = ['mine', 'nanogpt', 'later:wte.std=n_layer', 'xavier:std=1']\n"
    )
    rules(tmp_path, text)
    (check,) = load_settings(start=tmp_path).checks
    names = [rule if isinstance(rule, str) else rule.name for rule, _ in check.cases()]
    assert names == ["mine", "nanogpt", "later:wte.std=n_layer", "xavier:std=1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("check.rule = ['nanogpt:std=1', 'nanogpt:std=1']", 'names "nanogpt:std=1" twice'),
        ("rules = 3", "initscope.toml: rules: must be a table of tables, not 3"),
        ("rules.a = 3", "rules.a: must be a table with a base"),
        ("rules.a.std = 3", 'rules.a: must be a table with a base, as base = "nanogpt"'),
        ("rules.a.base = 'nangpt'", "rules.a: unknown rule 'nangpt': did you mean 'nanogpt'?"),
        ("rules.xavier.base = 'nanogpt'", "rules.xavier: there is a rule 'xavier' already"),
        ("rules.'a b'.base = 'nanogpt'", "rules.a b: a rule's name has no blank"),
        ("rules.a.base = 'a'", "rules.a: is based on itself (a on a)"),
        (
            "rules.a.base = 'b'\nrules.b.base = 'a:std=1'",
            "rules.a: is based on itself (a on b on a)",
        ),
        ("[rules.a]\nbase = 'nanogpt'\nq.sdt = 1", "rules.a: unknown quantity 'sdt': did you mean"),
        ("[rules.a]\nbase = 'nanogpt'\nq.std = [1]", "rules.a: q.std must be a formula in quotes"),
        ("[rules.a]\nbase = 'nanogpt'\nq = 1", "rules.a: unknown key 'q'"),
        ("[rules.a]\nbase = 'nanogpt'\nsummary = ''", "rules.a: must be a line of text in quotes"),
        ("[rules.a]\nbase = 'nanogpt'\ntied = 1", "rules.a: tied must be yes or no, not 1"),
        (
            "[rules.a]\nbase = 'nanogpt'\nq.std = '1/(2*n_lyer)'",
            "unknown name 'n_lyer': did you mean 'n_layer'?\n  1/(2*n_lyer)\n       ^",
        ),
    ],
)
def test_what_cannot_be_right_is_said_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in complaint(tmp_path, text)


def test_a_check_whose_rule_fails_somewhere_is_refused(tmp_path: Path) -> None:
    text = "[rules.a]\nbase = 'nanogpt'\nq.std = 'log(n_layer/20)'\n[check]\nrule = 'a'"
    rules(tmp_path, text)
    with pytest.raises(UsageError, match=r"initscope.toml: check: rule 'a' \(q, layer 0\): q.std"):
        load_settings(start=tmp_path)


# --- commands ---


def test_inspect_and_compare(cli: Command) -> None:
    assert cli("inspect", "--rule", "mine", *TINY, *QUICK[2:], "--json", "a.json").code == 0
    (profile,) = load("a.json")
    assert (profile.rule, profile.config.norm) == ("mine", "post")
    named = ("mine", "nanogpt:residual_std=0.02/sqrt(2*n_layer)", "later:tied=no")
    flags = [flag for flag in QUICK[2:] if flag != "--no-remedy"]
    outcome = cli("compare", *named, *TINY, *flags, "--json", "b.json")
    assert (outcome.code, [profile.rule for profile in load("b.json")]) == (0, list(named))
    assert "later:tied=no brings its own architecture" in outcome.err


def test_a_saved_profile_is_shown_and_judged_where_its_rule_is_unknown(
    cli: Command, tmp_path: Path
) -> None:
    assert cli("inspect", "--rule", "mine", *TINY, *QUICK[2:], "--json", "a.json").code == 0
    shown = cli("show", "a.json")
    (tmp_path / "pyproject.toml").unlink()
    again = cli("show", "a.json", "--plot", "a.svg", "--csv", "a.csv")
    assert (again.code, again.out) == (0, shown.out)
    assert again.out.startswith("mine\n")
    assert cli("check", "a.json").code in {0, 1}
    assert cli("inspect", "--rule", "mine", *TINY).code == 2


def test_check_takes_them_from_the_file_it_is_given(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[rules.theirs]\nbase = 'nanogpt'\nstd = 0.001\n")
    flags = ("--rule", "theirs", *TINY, "--device", "cpu", "--no-depth-law")
    outcome = cli("check", "--config", "other.toml", *flags)
    assert outcome.code in {0, 1}
    assert "theirs, 2 layers" in outcome.out
    assert "unknown rule 'theirs'" in cli("check", *flags).err


def test_rules_lists_them(cli: Command) -> None:
    listed = {rule["name"]: rule for rule in json.loads(cli("rules", "--json").out)["rules"]}
    assert listed["mine"]["depth_scaled"] == ["weights", "multipliers"]
    assert listed["mine"]["source"] == "our notebook"
    assert "\nlater " in cli("rules").out


def test_a_rule_that_fails_at_some_depths_is_listed(cli: Command, tmp_path: Path) -> None:
    text = "[rules.deep]\nbase = 'nanogpt'\nq.std = 'log(n_layer-4)'\n"
    (tmp_path / "initscope.toml").write_text(text)
    listed = {rule["name"]: rule for rule in json.loads(cli("rules", "--json").out)["rules"]}
    assert listed["deep"]["depth_scaled"] is None


def test_a_built_in_rule_is_explained_beside_settings_that_are_wrong(
    cli: Command, tmp_path: Path
) -> None:
    (tmp_path / "initscope.toml").write_text("rules = 3")
    for name, code in (("nanogpt", 0), ("IS001", 0), ("mine", 2)):
        shape = ("--n-layer", "1", "--n-embd", "32") if name == "nanogpt" else ()
        assert cli("explain", name, *shape).code == code


def test_they_are_completed(cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["initscope", "inspect", "--rule", "mi"]
    monkeypatch.setenv("_INITSCOPE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", "3")
    assert cli().out.split() == ["mingpt", "minicpm", "mine"]
    (tmp_path / "pyproject.toml").write_text("[tool.initscope.rules.mine]\n")
    assert cli().out.split() == ["mingpt", "minicpm"]
