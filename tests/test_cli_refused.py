"""A request that cannot be right is refused in one sentence, before anything is measured."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from command_line import TINY, Command, contents


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be measured."""

    def measure(*_: object, **__: object) -> NoReturn:
        raise AssertionError("it was refused only after a measurement")

    monkeypatch.setattr("initscope.sweep.measure", measure)


REFUSED = [
    ("inspct", "no such command 'inspct': did you mean 'inspect'?"),
    ("inspect --n-layr 3", "unknown option '--n-layr': did you mean '--n-layer'?"),
    ("inspect -z", "unknown option '-z': initscope inspect --help lists those that there are"),
    ("inspect --n-layer x", "invalid value for '--n-layer': "),
    ("inspect --n-layer", "option '--n-layer' requires an argument"),
    ("rules nanogpt", "got unexpected extra argument"),
    ("inspect --rule nanogtp", "unknown rule 'nanogtp': did you mean 'nanogpt'?"),
    ("compare nanogpt xaviar", "unknown rule 'xaviar': did you mean 'xavier'?"),
    ("check --rule kaimng", "unknown rule 'kaimng': did you mean 'kaiming'?"),
    ("inspect --preset gpt2-xxl", "unknown preset 'gpt2-xxl': did you mean 'gpt2-xl'?"),
    ("inspect --activation gleu", "unknown activation 'gleu': did you mean 'gelu'?"),
    ("inspect --norm postt", "unknown norm 'postt': did you mean 'post'?"),
    ("inspect --norm-kind layer", "unknown norm kind 'layer': did you mean 'layernorm'?"),
    ("inspect --positions ropes", "unknown positions 'ropes': did you mean 'rope'?"),
    ("inspect --n-layer 0", "n_layer must be a whole number from 1 to 10000000, not 0"),
    ("inspect --n-layer -3", "n_layer must be a whole number from 1 to 10000000, not -3"),
    ("inspect --n-embd 30 --n-head 4", "n_embd 30 is not a multiple of n_head 4"),
    ("inspect --n-kv-head 5", "n_head 12 is not a multiple of n_kv_head 5"),
    ("inspect --seeds 0", "--seeds must be at least 1, not 0"),
    ("inspect --batch -1", "--batch must be at least 1, not -1"),
    ("inspect --perturb-zeros -0.1", "--perturb-zeros cannot be negative, as -0.1 is"),
    ("inspect --perturb-zeros nan", "--perturb-zeros cannot be negative, as nan is"),
    ("inspect --memory lots", "'lots' is not a size; write it like 8GiB, 512MB or 4096"),
    ("inspect --memory -1", "'-1' is not a size"),
    ("inspect --device gpu", "unknown device 'gpu'"),
    ("inspect --json no/run.json", "no does not exist; create it first"),
    ("inspect --csv .", "cannot write .: it is a folder; name a file in it"),
    ("inspect --plot figure.gif", "--plot figure.gif: a figure's file ends in .png, .svg, .pdf"),
    ("inspect --plot no/figure.png", "no does not exist; create it first"),
    ("inspect --json - --csv -", "two results cannot both go to stdout (-)"),
    ("inspect --json - --parquet -", "two results cannot both go to stdout (-)"),
    ("inspect --json run --csv ./run", "two results cannot both go to run"),
    ("show no.json", "cannot read no.json: there is no such file"),
    ("show .", "cannot read .: it is a folder; name a file in it"),
    ("check no.json", "cannot read no.json: there is no such file"),
    ("check --bound depth_exponent=nan", "bound depth_exponent must be a number of at least 0"),
    ("check --bound depth_exponent=x", "--bound takes a number: could not convert string"),
    ("check --bound depth_exponent", "--bound 'depth_exponent' is not of the form NAME=VALUE"),
    ("check --bound dept_exponent=1", "unknown bound 'dept_exponent': did you mean 'depth_exp"),
    ("check --level depth-exponent=warning", "unknown level 'warning': did you mean 'warn'?"),
    ("check --level dept-exponent=warn", "unknown check 'dept-exponent': did you mean 'depth-"),
    ("check --select dept-exponent", "unknown check 'dept-exponent': did you mean 'depth-"),
    ("check --ignore dept-exponent", "unknown check 'dept-exponent': did you mean 'depth-"),
    ("check --format junitt", "unknown format 'junitt': did you mean 'junit'?"),
    ("check --output serif=run", "unknown format 'serif': did you mean 'sarif'?"),
    ("check --output junit", "--output 'junit' is not of the form NAME=VALUE"),
    ("check --output junit=no/report.xml", "no does not exist; create it first"),
    ("check --config no.toml", "cannot read no.toml: there is no such file"),
    ("check --save-baseline no/b.json", "no does not exist; create it first"),
    ("explain rank-colapse", "unknown rule or check 'rank-colapse': did you mean 'rank-collapse'?"),
]


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(("words", "sentence"), REFUSED, ids=[words for words, _ in REFUSED])
def test_a_wrong_request_is_one_sentence_and_nothing_is_measured(
    tmp_path: Path, cli: Command, words: str, sentence: str
) -> None:
    outcome = cli(*words.split())
    assert (outcome.code, outcome.out) == (2, "")
    *before, said = outcome.err.splitlines()
    assert said.startswith("initscope: error: ")
    assert sentence in said
    assert before == []
    assert contents(tmp_path) == []


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("inspect --n-laye 3", ("--n-laye", "--n-layer")),
        ("inspekt", ("inspekt", "inspect")),
        ("inspect --n-layer two", ("--n-layer", "integer")),
        ("inspect --perturb-zeros much", ("--perturb-zeros", "number")),
        ("inspect --seq-len 0", ("--seq-len", "1")),
        ("inspect nanogpt", ("nanogpt",)),
        ("inspect --n-layer", ("--n-layer", "argument")),
        ("check --max-seeds 0", ("--max-seeds", "1")),
        ("check --tolerance -1", ("--tolerance", "0")),
    ],
)
def test_what_no_option_takes_is_said_with_what_it_does(
    cli: Command, words: str, parts: tuple[str, ...]
) -> None:
    outcome = cli(*words.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert [part for part in parts if part not in outcome.err] == []
    assert "Traceback" not in outcome.err


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("no.bin", None, "cannot read tokens from no.bin: No such file or directory"),
        ("empty.txt", b"", "empty.txt has 0 tokens, but one sequence needs 17"),
        ("short.txt", b"abc", "short.txt has 3 tokens, but one sequence needs 17"),
        ("odd.bin", b"abc", "odd.bin is not a file of uint16 ids: its size, 3, is odd"),
        ("high.txt", b"\x41" * 40, "high.txt has the id 65, beyond the vocabulary of 64"),
        ("zpf", None, "unknown token source 'zpf': did you mean 'zipf'?"),
    ],
)
def test_tokens_that_cannot_be_used(
    tmp_path: Path, cli: Command, name: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    outcome = cli("inspect", *TINY, "--tokens", name, "--json", "run.json")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith(f"initscope: error: {sentence}")
    assert not (tmp_path / "run.json").exists()


@pytest.mark.usefixtures("idle")
def test_a_folder_that_the_system_does_not_let_write(
    tmp_path: Path, cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    outcome = cli("inspect", "--json", "run.json")
    assert outcome.code == 2
    assert f"cannot write run.json: no file can be created in {tmp_path}" in outcome.err
