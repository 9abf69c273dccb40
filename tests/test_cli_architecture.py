"""What a rule's method brings along is said, and so is what an option puts in its place."""

from __future__ import annotations

from typing import Any

import pytest

from command_line import Command
from initscope.cli.architecture import notes
from initscope.rules import get_rule

SMALL = ("--n-layer", "2", "--n-embd", "32", "--vocab-size", "99", "--seq-len", "8")


@pytest.mark.parametrize(
    ("rule", "chosen", "said"),
    [
        ("nanogpt", {"norm": "post"}, []),
        ("deepnorm", {}, ["deepnorm brings its own architecture: norm=post"]),
        ("deepnorm", {"norm": "post"}, []),
        ("deepnorm", {"norm": "pre"}, [
            "deepnorm belongs with norm=post, which is overridden: norm=pre"]),
        ("opt", {"bias": False}, [
            "opt brings its own architecture: activation=relu",
            "opt belongs with bias=True, which is overridden: bias=False"]),
    ],
)  # fmt: skip
def test_notes(rule: str, chosen: dict[str, Any], said: list[str]) -> None:
    assert list(notes(get_rule(rule), chosen)) == said


@pytest.mark.parametrize(
    "command", [["inspect", "--rule"], ["compare"], ["check", "--exit-zero", "--rule"]]
)
def test_commands_say_so(cli: Command, command: list[str]) -> None:
    outcome = cli(*command, "deepnorm", "--norm", "pre", *SMALL)
    assert "deepnorm belongs with norm=post, which is overridden: norm=pre" in outcome.err
    assert "overridden" not in outcome.out


def test_a_preset_overrides_too(cli: Command) -> None:
    outcome = cli("predict", "--rule", "deepnorm:std=0.02", "--preset", "gpt2", "--n-layer", "1")
    assert "deepnorm:std=0.02 brings its own architecture: norm=post" in outcome.err
    outcome = cli("predict", "--rule", "tinyllama", "--preset", "gpt2", "--n-layer", "1")
    assert "which is overridden: activation=gelu_tanh" in outcome.err
