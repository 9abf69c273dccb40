"""initscope design: settings on stdout, the table beside them, files, errors and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import initscope.sweep
from command_line import ROOT, Command, contents

SIZES = ("--n-layer", "3", "--n-embd", "32", "--vocab-size", "64", "--seq-len", "8")
CALL = ("design", *SIZES, "--final-variance", "0.5")
RUN = ("--device", "cpu", "--no-depth-law")
PREDICTED = (*CALL, "--no-measure")


@pytest.fixture
def cli(cli: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("COLUMNS", "80")
    return cli


def test_the_settings_are_on_stdout_and_the_table_beside_them(cli: Command) -> None:
    code, out, err = cli(*CALL, *RUN)
    assert code == 0
    (rule,) = tomllib.loads(out)["rules"].values()
    assert rule["base"] == "nanogpt"
    assert rule["residual"]["std"].endswith("*0.02/sqrt(2*n_layer)")
    assert "measured" in err
    row = next(line for line in err.splitlines() if line.startswith("final variance  "))
    assert row.split()[3:5] == ["0.500", "0.500"]  # target and prediction
    assert max(map(len, err.splitlines())) <= 80
    assert f"--rule 'nanogpt:residual.std={rule['residual']['std']}'" in err


def test_they_are_a_rule_of_the_settings_they_are_added_to(cli: Command, tmp_path: Path) -> None:
    out = cli(*PREDICTED, "--name", "mine").out
    (tmp_path / "initscope.toml").write_text(out, encoding="utf-8")
    again = cli("design", *SIZES, "--growth", "2", "--like", "mine", "--no-measure")
    assert tomllib.loads(again.out)["rules"]["designed"]["base"] == "mine"
    with (tmp_path / "initscope.toml").open("a", encoding="utf-8") as file:
        file.write(again.out)
    assert cli("predict", "--rule", "designed", *SIZES).code == 0


def test_a_file_is_kept_unless_told(cli: Command, tmp_path: Path) -> None:
    settings = cli(*PREDICTED).out
    code, out, err = cli(*PREDICTED, "--output", "d.toml")
    assert (code, err) == (0, "wrote d.toml\n")
    assert "predicted" in out
    assert (tmp_path / "d.toml").read_text(encoding="utf-8") == settings
    (tmp_path / "d.toml").write_text("kept", encoding="utf-8")
    code, out, err = cli(*PREDICTED, "--output", "d.toml")
    assert (code, out) == (2, "")
    assert "d.toml exists already: --force overwrites it" in err
    assert (tmp_path / "d.toml").read_text(encoding="utf-8") == "kept"
    assert cli(*PREDICTED, "--output", "d.toml", "--force").code == 0
    assert (tmp_path / "d.toml").read_text(encoding="utf-8") == settings
    assert contents(tmp_path) == ["d.toml"]


def test_json_has_the_numbers_and_the_settings(cli: Command) -> None:
    code, out, err = cli(*CALL, *RUN, "--json")
    found = json.loads(out)
    assert (code, len(err.splitlines())) == (0, 1)  # where it is measured
    assert found["schema"] == 1
    assert found["targets"]["final_variance"] == 0.5
    assert [row["n_layer"] for row in found["predicted"]] == [3, 6]
    low, high = found["expected"]["final_variance"]
    assert low < found["measured"][0]["final_variance"] < high
    assert tomllib.loads(found["rule"]["toml"])["rules"]["designed"]["base"] == "nanogpt"
    assert found["astray"] == []


def test_a_run_that_contradicts_theory_ends_in_1(
    cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = initscope.sweep.inspect

    def wrong(config: Any, _rule: Any, *said: Any, **more: Any) -> Any:
        return measure(config, "nanogpt", *said, **more)

    monkeypatch.setattr(initscope.sweep, "inspect", wrong)
    code, out, err = cli(*CALL, *RUN)
    assert code == 1
    assert "final variance: measured outside what theory expects of a run" in err
    assert tomllib.loads(out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--n-layer", "3"), "design needs a target"),
        (("--final-variance", "1e-9"), "--final-variance 1e-09 cannot be reached: the branches"),
        (("--branch-shares", "eqal"), "--branch-shares must be equal, or attention's share"),
        (("--layer-shares", "same"), "--layer-shares can only be equal, not 'same'"),
        (("--growth", "2", "--like", "nanogtp"), "did you mean 'nanogpt'?"),
        (("--growth", "2", "--name", "xavier"), "there is a rule 'xavier' already"),
        (("--growth", "2", "--output", "no/d.toml"), "cannot write no/d.toml"),
        (("--growth", "2", "--positions", "alibi"), "theory does not cover positions alibi"),
        (("--gradient-ratio", "2", "--forward-only"), "needs the gradients"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    cli: Command, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = cli("design", *SIZES, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_without_a_measurement_torch_is_never_loaded() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; from initscope.cli import main; "
        f"sys.exit(main({list(PREDICTED)}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert tomllib.loads(result.stdout)
