"""A model's weights from a checkpoint, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from command_line import Command, in_process
from users_gpt import users_gpt

USERS = f"{Path(__file__).parent / 'users_gpt.py'}:UsersGPT"
OWN = ("--model", USERS, "--seq-len", "16")
QUICK = (*OWN, "--n-layer", "4")
ONE_DEPTH = "a checkpoint has one depth, so how the signal goes with the depth is not measured"


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    model = users_gpt(n_layer=4)
    torch.save(model.state_dict(), tmp_path / "step0.pt")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    trained = {f"_orig_mod.{name}": x for name, x in model.state_dict().items()}
    saved = {"model": trained, "model_args": {"n_layer": 4}, "iter_num": 1000}
    (tmp_path / "run").mkdir()
    torch.save(saved, tmp_path / "run" / "ckpt.pt")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04")
    return in_process(tmp_path, monkeypatch, capsys)


def test_a_checkpoint_brings_the_arguments_of_its_model(cli: Command) -> None:
    end = cli("inspect", *OWN, "--checkpoint", "run/ckpt.pt")
    assert end.code == 0, end.err
    assert "run/ckpt.pt, 4 layers: forward not measured" in end.out
    assert ONE_DEPTH in end.err
    assert "depth      a checkpoint has one depth" in end.out
    both = cli("inspect", *OWN, "--checkpoint", "run", "--n-layer", "8")
    assert both.code == 2
    assert "it holds 4 blocks and the model 8: --n-layer 4 builds as many" in both.err


def test_the_drift_stands_beside_the_rules(cli: Command, tmp_path: Path) -> None:
    end = cli("compare", "own", "xavier", "step0.pt", "run/ckpt.pt", *QUICK, "--json", "a.json",
              "--plot", "a.svg")  # fmt: skip
    assert end.code == 0, end.err
    profiles = {p["rule"]: p for p in json.loads((tmp_path / "a.json").read_text())["profiles"]}
    assert list(profiles) == ["own", "xavier", "step0.pt", "run/ckpt.pt"]
    assert [p["run"].get("left_out", "") for p in profiles.values()] == ["", "", *[ONE_DEPTH] * 2]
    assert all(name in (tmp_path / "a.svg").read_text() for name in profiles)
    rows = {line.split()[0]: line for line in end.out.splitlines() if line.strip()}
    assert rows["step0.pt"].split()[2:4] == rows["own"].split()[2:4], "seed 0, saved"
    assert "not measured" in rows["run/ckpt.pt"]


def test_a_saved_profile_of_a_checkpoint_is_shown(cli: Command) -> None:
    assert cli("inspect", *QUICK, "--checkpoint", "step0.pt", "--parquet", "a.parquet").code == 0
    shown = cli("show", "a.parquet")
    assert shown.code == 0, shown.err
    assert "a checkpoint has one depth" in shown.out


def test_a_checkpoint_is_checked_but_for_the_depth(cli: Command) -> None:
    end = cli("check", *QUICK, "--checkpoint", "step0.pt")
    assert end.code == 0, end.out + end.err
    assert "UsersGPT by step0.pt, 4 layers" in end.out
    assert ONE_DEPTH in end.err
    either = cli("check", *QUICK, "--rule", "own", "--rule", "step0.pt", "--exit-zero")
    assert either.code == 0, either.err


def test_seeds_are_other_tokens_for_a_checkpoint(cli: Command) -> None:
    end = cli("inspect", *QUICK, "--checkpoint", "step0.pt", "--seeds", "2", "--csv", "-")
    rows = [line.split(",") for line in end.out.splitlines()]
    of = {key: {row[7] for row in rows if key in (row[6], row[5])} for key in ("loss", "weight")}
    assert len(of["loss"]) == 2
    weights = {(*row[3:7], row[7]) for row in rows if row[5] == "weight"}
    assert len(weights) == len({row[:4] for row in weights})


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("inspect", *QUICK, "--checkpoint", "absent.pt"), 2, "there is no such file"),
        (("inspect", *QUICK, "--checkpoint", "broken.pt"), 3, "cannot read broken.pt"),
        (("inspect", *OWN, "--checkpoint", "step0.pt"), 2, "it lacks transformer.h.4."),
        (("inspect", "--checkpoint", "step0.pt"), 2, "--checkpoint belongs to a model of your own"),
        (("inspect", *QUICK, "--checkpoint", "step0.pt", "--init", "xavier"), 2,
         "--checkpoint and --init both say what its weights are"),
        (("check", *QUICK, "--checkpoint", "step0.pt", "--rule", "xavier"), 2,
         "xavier and --checkpoint both say"),
        (("compare", "own", *QUICK, "--checkpoint", "step0.pt"), 2, "own and --checkpoint both"),
        (("compare", "nanogpt", "step0.pt"), 2, "name the model that it is of with --model"),
        (("audit", *QUICK, "--checkpoint", "step0.pt"), 2, "a checkpoint has no code"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_said(
    cli: Command, arguments: tuple[str, ...], code: int, said: str
) -> None:
    end = cli(*arguments)
    assert (end.code, end.out) == (code, "")
    assert said in end.err
    assert "Traceback" not in end.err


# --- settings ---


def test_settings_about_the_builtin_gpt_are_said_to_be_left_out(
    cli: Command, tmp_path: Path
) -> None:
    said = "[[checks]]\nname = 'ci'\nseeds = 1\n"
    (tmp_path / "initscope.toml").write_text(said + "rule = 'xavier'\nn_layer = 96\nbias = true\n")
    end = cli("check", *QUICK, "--forward-only")
    assert end.code in {0, 1}
    assert "check ci: rule, n_layer, bias of its settings are about the built-in GPT" in end.err
    assert "4 layers" in end.out
    (tmp_path / "initscope.toml").write_text(said)
    assert "built-in" not in cli("check", *QUICK, "--forward-only").err
