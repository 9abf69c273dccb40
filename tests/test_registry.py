"""The registry: rules made by a decorator, and those of other packages."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import initscope
from command_line import Command
from initscope.errors import PluginWarning, UsageError
from initscope.rules import (
    RULES,
    Draw,
    Multipliers,
    Rule,
    Site,
    all_rules,
    config_for,
    get_rule,
    rule_names,
)
from initscope.sites import require_draws

GOOD = '''
import initscope

@initscope.rule("theirs", source="their paper", formulas={"matrices": "0.01"})
def theirs(site):
    """N(0, 0.01) for every matrix."""
    vector = site.role in {"norm_gain", "norm_bias", "bias"}
    return initscope.Draw.constant(float(site.role == "norm_gain")) if vector else (
        initscope.Draw.normal(0.01))

number = 3
renamed = initscope.Rule(name="other", summary="", source="", draw=theirs.draw)
'''


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """Leave the registry as it was."""
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


def offer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, entries: dict[str, str], **modules: str
) -> None:
    """Install a package that offers rules, as pip would leave it."""
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    info = folder / "their_rules-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rules\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[initscope.rules]", *lines, ""]))
    monkeypatch.syspath_prepend(folder)


# --- decorator ---


def test_a_decorated_function_is_a_registered_rule() -> None:
    @initscope.rule(
        "mine", source="this test", architecture={"norm": "post"},
        multipliers=lambda _site: Multipliers(logits=2.0),
    )  # fmt: skip
    def mine(site: Site) -> Draw:
        """N(0, 1/n_embd) throughout.

        And more.
        """
        return Draw.normal(1 / site.n_embd)

    assert isinstance(mine, Rule)
    assert get_rule("mine") is mine
    assert (mine.summary, mine.source) == ("N(0, 1/n_embd) throughout.", "this test")
    config = config_for("mine:branch=0", n_layer=2, n_embd=32, vocab_size=64)
    profile = initscope.inspect(config, "mine", initscope.Options(seq_len=8, device="cpu"))
    assert (profile.rule, profile.config.norm) == ("mine", "post")


def test_a_name_is_given_once() -> None:
    def draw(_site: Site) -> Draw:
        return Draw.normal(1.0)

    initscope.rule("mine", source="-")(draw)
    for name in ("mine", "nanogpt"):
        with pytest.raises(UsageError, match=f"there is a rule '{name}' already"):
            initscope.rule(name, source="-")(draw)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a,b", "a=b", "a\n"])
def test_a_name_can_be_told_from_changes(name: str) -> None:
    with pytest.raises(UsageError, match="no blank, colon, comma or equals sign"):
        initscope.rule(name, source="-")(lambda _site: Draw.normal(1.0))


def test_a_function_that_fails_is_named() -> None:
    rule = initscope.rule("mine", source="-")(lambda site: Draw.normal(1 / site.layer))
    config = initscope.GPTConfig(n_layer=2, n_embd=32)
    with pytest.raises(UsageError, match=r"rule 'mine' fails \(norm_1, layer 0\): ZeroDivision"):
        require_draws(rule, config)
    wrong = initscope.rule("wrong", source="-")(lambda _site: 0.02)  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match="it gives float instead of Draw"):
        initscope.inspect(config, wrong)


# --- packages ---


def test_a_packages_rule_loads_when_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    offer(tmp_path, monkeypatch, {"theirs": "their_good:theirs"}, their_good=GOOD)
    assert "theirs" in rule_names()
    with pytest.raises(UsageError, match="did you mean 'theirs'"):
        get_rule("thiers")
    get_rule("nanogpt")
    assert "their_good" not in sys.modules
    outcome = cli("explain", "theirs", "--n-layer", "2", "--n-embd", "32")
    assert (outcome.code, outcome.err) == (0, "")
    assert "N(0, 0.01) for every matrix." in outcome.out
    assert get_rule("theirs") is sys.modules["their_good"].theirs
    assert get_rule("theirs:wte.std=1").source.startswith("made from theirs")


BROKEN = {
    "absent": ("their_absent:x", "ModuleNotFoundError: No module named 'their_absent'"),
    "raising": ("their_raising:x", "ValueError: no luck"),
    "leaving": ("their_leaving:x", "SystemExit: 4"),
    "typed": ("their_good:number", "is no Rule but of type int"),
    "renamed": ("their_good:renamed", "calls itself 'other'"),
    "nanogpt": ("their_clash:x", "there is a rule 'nanogpt' already"),
}
MODULES = {
    "their_good": GOOD,
    "their_raising": "raise ValueError('no luck')",
    "their_leaving": "raise SystemExit(4)",
    "their_clash": "import initscope; x = initscope.rule('nanogpt', source='-')(lambda site: None)",
}


@pytest.fixture
def _broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {name: value for name, (value, _) in BROKEN.items()}
    offer(tmp_path, monkeypatch, {**entries, "theirs": "their_good:theirs"}, **MODULES)


@pytest.mark.usefixtures("_broken")
def test_broken_rules_are_reported_and_left_out(cli: Command) -> None:
    outcome = cli("rules", "--json")
    assert outcome.code == 0
    names = [entry["name"] for entry in json.loads(outcome.out)["rules"]]
    assert "theirs" in names
    assert not (BROKEN.keys() - {"nanogpt"}) & set(names)
    lines = outcome.err.splitlines()
    assert len(lines) == len(BROKEN)
    for line, (name, (_, trouble)) in zip(sorted(lines), sorted(BROKEN.items()), strict=True):
        assert line.startswith(f"initscope: warning: rule '{name}' of the package their-rules")
        assert trouble in line
        assert line.endswith("; left out")
    assert cli("rules", "--json").err.splitlines() == lines, "it is said again"


@pytest.mark.usefixtures("_broken")
@pytest.mark.parametrize("name", sorted(BROKEN.keys() - {"nanogpt"}))
def test_a_broken_rule_that_is_asked_for_is_an_error(name: str, cli: Command) -> None:
    outcome = cli("inspect", "--rule", name)
    assert outcome.code == 2
    assert outcome.out == ""
    assert BROKEN[name][1] in outcome.err
    assert "Traceback" not in outcome.err


def test_a_rule_of_a_name_that_is_taken_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = (
        GOOD + "\nxavier = initscope.Rule(name='xavier', summary='', source='', draw=theirs.draw)"
    )
    offer(tmp_path, monkeypatch, {"xavier": "their_other:xavier"}, their_other=other)
    with pytest.warns(PluginWarning, match="'xavier' .+ has the name of another; left out"):
        listed = all_rules()
    assert [rule for rule in listed if rule.name == "xavier"] == [get_rule("xavier")]
    assert get_rule("xavier").source.startswith("Glorot")


def test_nothing_of_a_package_runs_for_a_built_in_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    offer(tmp_path, monkeypatch, {"bad": "their_raising:x"}, **MODULES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cli("explain", "nanogpt", "--n-layer", "1", "--n-embd", "32").err == ""
        assert cli("--help").code == 0
    assert "their_raising" not in sys.modules
