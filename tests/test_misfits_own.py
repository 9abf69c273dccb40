"""A model of one's own held against a rule: mistakes are found and named, and it is not accused."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from command_line import Command, in_process
from families import family
from initscope.digest import prediction
from initscope.judging import judge
from initscope.likeness import describe
from initscope.redraw import redraw
from initscope.resident import feed
from initscope.resident.engine import locate
from initscope.rules import get_rule
from initscope.store import load
from initscope.verdict import Status
from misdrawn import DEPTH, WIDTH, drawn, finding, held, layers, lecun, nanogpt, normal, truncated
from small import ids
from users_gpt import UsersGPT

USERS = f"{Path(__file__).parent / 'users_gpt.py'}:UsersGPT"
ALL = f"layers 0–{DEPTH - 1}"
LOUD = 2 * DEPTH


def scaled(model: UsersGPT, factor: float, *paths: str) -> None:
    for path in paths:
        for module in layers(model, path):
            with torch.no_grad():
                module.get_parameter("weight").mul_(factor)


def wrong_fan_in(model: UsersGPT) -> None:
    """Draw w2 by the model's width, not by its own fan_in."""
    for module in layers(model, "mlp.c_proj"):
        nn.init.normal_(module.get_parameter("weight"), std=WIDTH**-0.5)


def twice(model: UsersGPT) -> None:
    """Run the residual scaling a second time."""
    scaled(model, LOUD**-0.5, "attn.c_proj", "mlp.c_proj")


def skipped(model: UsersGPT, path: str = "attn.c_proj", chosen: tuple[int, ...] = (2, 4)) -> None:
    """Leave a projection as torch.nn.Linear drew it."""
    for module in layers(model, path, chosen):
        assert isinstance(module, nn.Linear)
        module.reset_parameters()


def not_scaled(model: UsersGPT) -> None:
    for module in layers(model, "mlp.c_proj"):
        nn.init.normal_(module.get_parameter("weight"), std=0.02)


def redrawn(name: str, rule: str) -> nn.Module:
    """Build a model of the transformers library, and draw it by a rule."""
    model, tokens = family(name).eval(), ids()
    given = feed(model, tokens)
    anatomy = locate(model, given)
    redraw(anatomy, get_rule(rule), describe(anatomy, given), 0)
    return model


Plant = Callable[[UsersGPT], object]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("rule", "model", "plant", "where", "factor", "why"),
    [
        ("lecun", partial(drawn, std=lecun), wrong_fan_in, f"{ALL} mlp_down", 4.0,
         f"its fan_in, {4 * WIDTH}, was taken for {WIDTH}, its fan_out"),
        ("olmo-megatron", partial(drawn, std=nanogpt, fill=partial(truncated, bound=3.0)), None,
         f"embedding wte and wpe, {ALL} qkv, attn_out, mlp_up and mlp_down", 1.027,
         "trunc_normal_ takes its bounds in absolute units"),
        ("lecun", partial(drawn, std=lecun),
         lambda model: [truncated(module.get_parameter("weight"), WIDTH**-0.5, bound=0.04)
                        for module in layers(model, "mlp.c_fc")],
         f"{ALL} mlp_up", WIDTH * 0.04**2 / 3, "no entry lies beyond ±0.0400: a truncation bound"),
        ("nanogpt", partial(drawn, std=nanogpt), twice, f"{ALL} attn_out and mlp_down", 1 / LOUD,
         f"the residual scaling was applied twice (1/(2·n_layer) = 1/{LOUD})"),
        ("nanogpt", partial(drawn, std=nanogpt), skipped, "layers 2 and 4 attn_out",
         1 / (3 * WIDTH) * LOUD / 0.02**2, "PyTorch's default was left"),
        ("nanogpt", partial(drawn, std=nanogpt),
         partial(skipped, path="attn.c_attn", chosen=(3,)), "layer 3 qkv",
         1 / (3 * WIDTH) / 0.02**2, "PyTorch's default was left"),
        ("nanogpt", partial(drawn, std=nanogpt), not_scaled, f"{ALL} mlp_down", LOUD,
         f"the residual scaling was lost (2·n_layer = {LOUD})"),
    ],
    ids=["fan_in", "truncation never acts", "truncation cuts off", "twice", "skipped",
         "skipped, fused", "not scaled"],
)  # fmt: skip
def test_a_planted_mistake_is_found_and_named(
    seed: int, rule: str, model: Callable[[int], UsersGPT], plant: Plant | None,
    where: str, factor: float, why: str,
) -> None:  # fmt: skip
    wrong = model(seed)
    if plant is not None:
        plant(wrong)
    profile = held(wrong, rule, seed)
    found = finding(profile)
    assert found.status is Status.BROKEN
    assert found.message.startswith(f"{where}: ")
    assert found.value == pytest.approx(factor, rel=0.15)
    assert why in found.message
    assert judge(profile).reason == found.message


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("rule", "std", "fill"),
    [("nanogpt", nanogpt, normal), ("lecun", lecun, normal), ("olmo-megatron", nanogpt, truncated)],
)
def test_a_model_drawn_as_the_rule_says_is_not_accused(
    seed: int, rule: str, std: Callable[..., float], fill: Callable[..., object]
) -> None:
    profile = held(drawn(seed, std, fill), rule, seed)
    assert finding(profile).status is Status.KEPT, finding(profile).message
    assert prediction(profile) is not None


# --- where only the signal shows it ---


def test_a_part_of_a_fused_projection_is_found_by_its_activation() -> None:
    model = drawn(0, nanogpt)
    for module in layers(model, "attn.c_attn"):
        weight = module.get_parameter("weight")
        with torch.no_grad():  # the whole keeps its std, and v grows at the expense of q and k
            weight[: 2 * WIDTH].mul_(math.sqrt(0.5))
            weight[2 * WIDTH :].mul_(math.sqrt(2))
    found = finding(held(model, "nanogpt"))
    assert f"{ALL} v: " in found.message
    assert "expected of its input" in found.message


class Quiet(nn.Module):
    """A branch that is multiplied once more than the rule says."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.25 * self.inner(x)


def test_a_factor_in_the_forward_pass_is_found_at_the_sum() -> None:
    model = drawn(0, lecun)
    for block in model.transformer["h"].children():
        block.mlp = Quiet(block.get_submodule("mlp"))
    found = finding(held(model, "lecun"))
    assert (found.status, found.site) == (Status.BROKEN, "resid_post")
    assert "the forward pass does there what the rule does not say" in found.message


# --- on the command line ---


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return in_process(tmp_path, monkeypatch, capsys)


OWN = ("--model", USERS, "--n-layer", "4", "--seq-len", "16", "--no-depth-law")


def test_a_rule_is_what_the_models_own_draw_should_follow(command: Command) -> None:
    right = command("inspect", *OWN, "--rule", "nanogpt", "--json", "right.json")
    assert right.code == 0
    assert "as the rule says" not in right.out
    assert "theory" in right.out
    (profile,) = load("right.json")
    assert (profile.rule, finding(profile).status) == ("own", Status.KEPT)
    wrong = command("inspect", *OWN, "--rule", "nanogpt", "--model-arg", "scaled=false")
    flat = " ".join(wrong.out.split())
    assert "layers 0–3 attn_out and mlp_down: " in flat
    assert "the residual scaling was lost (2·n_layer = 8)" in flat


def test_without_a_rule_nothing_is_predicted(command: Command) -> None:
    assert "theory" not in command("inspect", *OWN).out
    drawn_anew = command("inspect", *OWN, "--init", "nanogpt")
    assert "theory" in drawn_anew.out
    assert "as the rule says" not in drawn_anew.out
    several = command("compare", "own", "nanogpt", *OWN)
    assert "theory" in several.out


def test_a_rule_to_draw_by_and_one_to_follow_exclude_each_other(command: Command) -> None:
    end = command("inspect", *OWN, "--init", "xavier", "--rule", "nanogpt")
    assert end.code == 2
    assert "give one of them" in end.err


# --- other people's models ---


@pytest.mark.parametrize("name", ["gpt2", "opt", "llama", "mistral", "qwen3", "phi3", "olmo"])
def test_a_family_drawn_by_a_rule_is_not_accused(name: str) -> None:
    pytest.importorskip("transformers", reason="needs the extra hf")
    profile = held(redrawn(name, "opt"), "opt")
    assert prediction(profile) is not None
    assert finding(profile).status is Status.KEPT, finding(profile).message


@pytest.mark.parametrize(
    ("name", "why"),
    [("gptj", "parallel branches"), ("olmo2", "blocks without norm_1, norm_2"),
     ("mixtral", "an MLP's activation that is not found")],
)  # fmt: skip
def test_what_theory_does_not_cover_of_a_family_is_said(name: str, why: str) -> None:
    pytest.importorskip("transformers", reason="needs the extra hf")
    profile = held(redrawn(name, "nanogpt"), "nanogpt")
    assert profile.run.remark == f"theory does not cover {why}"
    assert finding(profile).status is Status.KEPT  # the weights are compared all the same


def test_a_factor_that_the_rule_does_not_have_is_named() -> None:
    pytest.importorskip("transformers", reason="needs the extra hf")
    found = finding(held(redrawn("granite", "xavier"), "xavier"))
    assert (found.status, found.site) == (Status.BROKEN, "resid_mid")
