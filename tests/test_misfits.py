"""Theory beside a measurement: its readings, where it stands, and no rule that is accused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import initscope
import synthetic
from command_line import TINY, Command, in_process
from figures import legend, panel
from initscope.checks.transfer import LEVEL, Held, beyond, misfits
from initscope.config import GPTConfig
from initscope.digest import prediction
from initscope.errors import UsageError
from initscope.options import Options
from initscope.plot import figure
from initscope.profile import Profile
from initscope.rules import RULES, config_for, get_rule
from initscope.rules.core import Multipliers
from initscope.store import FORMATS, load
from initscope.theory import predict, try_theory, with_theory
from initscope.theory.band import band
from initscope.verdict import Status
from misdrawn import finding
from small import SMALL

OPTIONS = Options(seq_len=25, depth_law=False, device="cpu", seeds=2)

FORWARD = dataclasses.replace(OPTIONS, forward_only=True, seeds=1, tokens="uniform")


def beside(rule: str = "nanogpt", options: Options = OPTIONS, **fields: Any) -> Profile:
    config = config_for(rule, **{**SMALL, **fields})
    profile = initscope.inspect(config, rule, options)
    return try_theory(profile, get_rule(rule), options)


SHOWN = beside()

# --- no false alarm ---

KINDS: list[dict[str, Any]] = [
    {}, {"norm": "post"}, {"norm": "sandwich"}, {"norm": "none"}, {"tied": False, "bias": True},
    {"norm_kind": "rmsnorm", "activation": "swiglu", "positions": "rope", "n_kv_head": 2},
    {"activation": "relu2", "n_embd": 128, "n_head": 2}, {"n_layer": 9, "n_embd": 24, "n_head": 2},
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_of_the_catalogue_is_accused(rule: str) -> None:
    profile = beside(rule, FORWARD)
    if prediction(profile) is None:
        assert profile.run.remark.startswith("theory does not cover")
    else:
        assert finding(profile).status is Status.KEPT, finding(profile).message


@pytest.mark.parametrize("fields", KINDS)
@pytest.mark.parametrize("rule", ["nanogpt", "xavier"])
def test_no_architecture_is_accused(rule: str, fields: dict[str, Any]) -> None:
    profile = beside(rule, dataclasses.replace(FORWARD, seeds=3), **fields)
    assert finding(profile).status is Status.KEPT, finding(profile).message


def test_the_level_is_that_of_the_whole_profile() -> None:
    """Mean squares of normals about their expectation: few of a thousand profiles are accused."""
    draws = np.random.default_rng(0)
    freedom, sites, layers = 12, 20, 10
    accused = 0
    for _ in range(300):
        ratios = draws.chisquare(freedom, (sites, layers)) / freedom
        held = [
            Held(layer, str(site), float(ratios[site, layer]), freedom, 0.0)
            for site in range(sites) for layer in range(layers)
        ]  # fmt: skip
        accused += bool(misfits(held, len(held)))
    # Each site's layers are tried together too: at most twice the level, so 0.6 of 300 expected.
    assert accused <= 4  # P(more) < 1e-3
    assert LEVEL < 0.01


# --- misfits of the signal alone ---


@pytest.mark.parametrize(
    ("site", "layer"), [("q", 1), ("attn", 0), ("mlp_act", 2), ("norm_1", 1), ("resid_mid", 2)]
)
def test_the_step_that_deviates_is_named_and_no_other(site: str, layer: int) -> None:
    profile = synthetic.changed(
        SHOWN, 40.0, site=site, layer=layer, direction="forward", statistic="second_moment"
    )
    found = finding(profile)
    assert (found.status, found.site, found.layer) == (Status.BROKEN, site, layer)
    assert found.message.startswith(f"layer {layer} {site}: ")
    assert "; " not in found.message


def test_what_is_expected_goes_by_what_was_measured() -> None:
    louder = synthetic.changed(
        SHOWN, 1.0, site="norm_1", layer=1, direction="forward", statistic="second_moment"
    )
    bare = synthetic.without(louder, statistic="expected")
    again = with_theory(bare, "nanogpt", OPTIONS)
    for name in "qkv":
        assert synthetic.value(again, name, "expected", 1) == pytest.approx(48 * 0.02**2)
    squares = [
        synthetic.value(SHOWN, site, "second_moment", 1) for site in ("resid_pre", "attn_out")
    ]
    assert synthetic.value(SHOWN, "resid_mid", "expected", 1) == pytest.approx(sum(squares))


def test_factors_of_a_method_are_expected_at_the_sums() -> None:
    rule = dataclasses.replace(
        get_rule("nanogpt"), multipliers=lambda _: Multipliers(branch_mlp=0.5, skip_mlp=2.0)
    )
    profile = initscope.inspect(GPTConfig(**SMALL), rule, OPTIONS)
    right, plain = (with_theory(profile, one, OPTIONS) for one in (rule, "nanogpt"))
    assert finding(right).status is Status.KEPT
    assert finding(plain).site == "resid_post"


def test_a_ratio_that_is_no_number_is_beyond_any_band() -> None:
    assert beyond(Held(0, "q", math.inf, 100.0, 0.01), 4)
    assert beyond(Held(0, "norm_1", 1.1, math.inf, 0.05), 4)
    assert not beyond(Held(0, "norm_1", 1.04, math.inf, 0.05), 4)


# --- as readings ---


def test_the_prediction_beside_is_the_prediction() -> None:
    beside_, alone = prediction(SHOWN), predict(SHOWN.config, "nanogpt", OPTIONS)
    assert beside_ is not None
    for direction in ("forward", "backward"):
        for statistic in ("variance", "spread"):
            told = beside_.stream(direction, statistic).to_numpy()
            assert told == pytest.approx(alone.stream(direction, statistic).to_numpy())


@pytest.mark.parametrize("name", ["json", "parquet"])
def test_it_is_saved_and_loaded(name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    (loaded,) = FORMATS[name].decode(FORMATS[name].encode([SHOWN]))
    told, again = prediction(SHOWN), prediction(loaded)
    assert told is not None
    assert again is not None
    assert again.stream().equals(told.stream())
    assert finding(loaded) == finding(SHOWN)


def test_a_model_that_theory_does_not_cover_is_said() -> None:
    config = GPTConfig(**SMALL, positions="alibi")
    profile = initscope.inspect(config, "nanogpt", OPTIONS)
    tried = try_theory(profile, get_rule("nanogpt"), OPTIONS)
    assert tried.run.remark == f"{UNCOVERED}, only learned, rope, sinusoidal, none"
    assert tried.table.equals(profile.table)
    with pytest.raises(UsageError, match=UNCOVERED):
        with_theory(profile, "nanogpt", OPTIONS)
    assert finding(tried).status is Status.NOT_MEASURED


# --- as a figure ---


def test_a_figure_has_the_prediction_and_its_band() -> None:
    fig = figure([SHOWN])
    assert legend(fig) == ["nanogpt", "theory"]
    told = prediction(SHOWN)
    assert told is not None
    low, high = band(told, "forward", seeds=2)
    lines = [np.asarray(line.get_ydata(), float) for line in panel(fig, "residual variance").lines]
    for curve in (told.stream().to_numpy()[1:, 0], low, high):
        assert any(line[1:] == pytest.approx(curve) for line in lines)
    assert legend(figure([SHOWN], theory=())) == ["nanogpt"]


# --- on the command line ---


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return in_process(tmp_path, monkeypatch, capsys)


UNCOVERED = "theory does not cover positions alibi"
QUICK = (*TINY, "--device", "cpu", "--no-depth-law")


@pytest.mark.parametrize("words", [("inspect", "--no-remedy"), ("compare", "nanogpt", "xavier")])
def test_the_table_has_a_column_within_80(
    command: Command, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = command(*words, *QUICK, "--json", "run.json")
    table = shown.out.split("─" * 20)[0]
    assert "theory" in table
    assert max(map(len, shown.out.splitlines())) <= 80
    told = [prediction(profile) for profile in load("run.json")]
    assert all(told)
    assert "theory" in command("show", "run.json").out
    assert "theory" not in command(*words, *QUICK, "--no-theory").out


def test_why_there_is_no_prediction_is_said_once_on_stderr(command: Command) -> None:
    end = command("compare", "bloom", "nanogpt", *QUICK, "--positions", "alibi")
    assert end.code == 0
    assert end.err.count(UNCOVERED) == 1
    assert "no prediction beside bloom" in end.err
    assert "theory" not in end.out
