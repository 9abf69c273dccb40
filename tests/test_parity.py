"""Each rule beside public code that draws the same: every parameter, over several seeds."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import elsewhere
import huggingface
from elsewhere import Source, Weights
from initscope.config import GPTConfig
from initscope.construction import build
from initscope.rules import RULES, config_for
from initscope.sites import all_parameters
from parity import differences

SHAPE: dict[str, Any] = {
    "n_layer": 3, "n_embd": 64, "n_head": 4, "vocab_size": 300, "block_size": 128,
}  # fmt: skip
SEEDS = range(3)


def config_of(rule: str, **fields: Any) -> GPTConfig:
    return config_for(rule, **{**SHAPE, "bias": True, **fields})


def ours(config: GPTConfig, rule: str, seed: int) -> Weights:
    model = build(config, rule, seed)
    rooms = [model.embedding, *model.blocks, model.unembedding]
    return {
        (p.site.layer, p.label): rooms[p.site.layer + 1].get_parameter(p.path)
        for p in all_parameters(config)
    }


def unlike(config: GPTConfig, rule: str, draw: Source, seed: int) -> dict[tuple[int, str], Any]:
    """Compare a draw of ours with one of theirs; everything that differs, by layer and label."""
    torch.manual_seed(1000 + seed)
    mine, theirs = ours(config, rule, seed), draw(config)
    assert theirs.keys() <= mine.keys()
    found = {key: differences(mine[key], theirs[key]) for key in theirs}
    return {key: said for key, said in found.items() if said}


def undrawn(config: GPTConfig, rule: str, draw: Source) -> set[str]:
    """Name the matrices of ours that the other code has nothing for."""
    mine, theirs = ours(config, rule, 0), draw(config)
    return {key[1] for key in mine.keys() - theirs.keys() if mine[key].dim() == 2}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rule", elsewhere.SOURCES)
def test_drawn_as_torch_or_mup_draws_it(rule: str, seed: int) -> None:
    config, draw = config_of(rule), elsewhere.SOURCES[rule]
    assert unlike(config, rule, draw, seed) == {}
    assert not undrawn(config, rule, draw)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", huggingface.MODELS)
def test_drawn_as_transformers_draws_it(name: str, seed: int) -> None:
    rule, draw, fields = huggingface.MODELS[name]
    config = config_of(rule, **fields)
    assert unlike(config, rule, draw, seed) == {}
    assert not undrawn(config, rule, draw)


@pytest.mark.parametrize(
    ("rule", "other", "label"),
    [
        ("nanogpt-flat", "nanogpt", "mlp_down"),  # a lost division
        ("tinyllama", "neox", "attn_out"),  # half of it
        ("xavier", "xavier-uniform", "q"),  # another shape, with the same mean and std
        ("olmo-normal", "cerebras", "wte"),  # another cut
        ("kaiming", "llm-foundry", "wte"),  # another embedding
    ],
)
def test_a_parameter_that_is_drawn_otherwise_is_found(rule: str, other: str, label: str) -> None:
    config = config_of(other, bias=False)
    found = unlike(config, rule, partial(ours, rule=other, seed=9), 0)
    assert label in {name for _, name in found}


def test_one_entry_in_a_thousand_beyond_the_bound_is_found() -> None:
    x: Tensor = torch.empty(100, 1000).uniform_(-1, 1)
    y = torch.empty(100, 1000).uniform_(-1, 1)
    assert differences(x, y) == []
    y[:, 0] *= 1.5  # a tenth of a percent of the variance: nothing else would show it
    assert [said.partition(":")[0] for said in differences(x, y)] == ["bounds"]


def closed_forms() -> set[str]:
    """Name the rules in the tables of closed forms: EXPECTED of each tests/test_catalogue*.py."""
    modules = (
        import_module(path.stem) for path in Path(__file__).parent.glob("test_catalogue*.py")
    )
    return {rule for module in modules for rule in getattr(module, "EXPECTED", {})}


def test_every_rule_is_compared_with_something_outside_itself() -> None:
    public = elsewhere.SOURCES.keys() | {model.rule for model in huggingface.MODELS.values()}
    checked = public | closed_forms()
    assert RULES.keys() - checked == set(), "give it public code here, or a closed form"
    assert checked - RULES.keys() == set(), "no such rule"
