"""Watching a training loop: what is measured, when, and that training goes on as without."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import initscope
from initscope.errors import UsageError
from resident_readings import assert_same
from users_gpt import users_gpt
from watched import adam, batches, hooks, quiet, train, values, watched

# --- what is measured ---


def test_readings_are_those_of_inspect_on_the_same_batch_and_weights() -> None:
    model = users_gpt().train()
    want = values(initscope.inspect(model, batches(1)[0]))
    full, lean = (values(watched(users_gpt().train(), 1, sites=s).profile) for s in ("all", "lean"))
    assert full.keys() == want.keys()
    assert_same(full, want)
    assert 0 < len(lean) < len(want) / 2
    assert_same(lean, {key: want[key] for key in lean})
    assert {site for _, site, *_ in lean} > {"embed", "resid_post", "loss", "logits", "qkv", "wte"}


def test_named_sites_are_measured_both_ways_with_the_parameters() -> None:
    got = values(watched(users_gpt(), 1, sites=["q", "attn"]).profile)
    seen = {(site, direction) for _, site, direction, _ in got}
    assert {pair for pair in seen if "weight" not in pair[1]} == {
        ("q", "forward"), ("q", "backward"), ("attn", "forward"), ("attn", "backward"),
        ("loss", "forward"),
    }  # fmt: skip
    assert (0, "attn", "forward", "attention_entropy") in got


def test_a_later_step_is_that_of_the_weights_then() -> None:
    model = users_gpt()
    train(model, 3)
    want = values(initscope.inspect(model, batches(4)[3]))
    got = values(watched(users_gpt(), 4, every=3).profile)
    assert_same(got, {key: want[key] for key in got}, 1e-5)


def test_a_batch_of_another_shape_is_cut_anew() -> None:
    model = users_gpt()
    with quiet(model, sites=["q", "k"]) as w:
        for length in (25, 9):
            ids = batches(1)[0][:, :length]
            model(ids[:, :-1], ids[:, 1:])[1].backward()
            want = values(initscope.inspect(model, ids))
            got = values(w.profile)
            assert_same(got, {key: want[key] for key in got if key[2] != "weight_grad"})


# --- steps ---


def numbers(w: Any) -> list[int]:
    return [profile.run.step for profile in w.profiles]


def test_every_nth_step_is_profiled_from_the_start_on() -> None:
    assert numbers(watched(users_gpt(), 7, every=3)) == [0, 3, 6]
    assert numbers(watched(users_gpt(), 7, every=3, start=8)) == [9, 12]
    assert numbers(watched(users_gpt(), 6, keep=2)) == [0, 4, 5]


def test_validation_is_no_step() -> None:
    model = users_gpt()

    def validate(_step: int) -> None:
        (ids,) = batches(1)
        with torch.no_grad():
            model(ids[:, :-1], ids[:, 1:])
        model.eval()
        model(ids[:, :-1], ids[:, 1:])  # with a graph, but not in training mode
        model.train()

    w = quiet(model, 2)
    train(model, 4, w, after=validate)
    assert numbers(w) == [0, 2]
    assert_same(values(w.profile), values(watched(users_gpt(), 4, every=2).profile))


@pytest.mark.parametrize("how", ["optimiser", "manual"])
def test_of_a_steps_micro_batches_the_first_is_measured(how: str) -> None:
    model = users_gpt()
    optimiser = adam(model)
    w = quiet(model, 2, steps=optimiser if how == "optimiser" else how)
    end = w.step if how == "manual" else int
    train(model, 4, w, optimiser=optimiser, accumulate=3, after=lambda _: end())
    assert numbers(w) == [0, 2]
    want = values(initscope.inspect(users_gpt(), batches(1)[0]))
    powers = {"second_moment": 2, "variance": 2, "mean": 1, "max_abs": 1, "grad_norm": 1}
    got = {
        key: value * (3.0 ** powers[key[3]] if key[2] in {"backward", "weight_grad"} else 1.0)
        for key, value in values(w.profiles[0]).items()  # the loop divides the loss by 3
    }
    assert_same(got, {key: want[key] for key in got})


def test_forward_passes_are_steps_however_many_go_backward_together() -> None:
    model = users_gpt()
    with quiet(model, 2) as w:
        for ids in batches(3):
            pair = [model(part[:, :-1], part[:, 1:])[1] for part in (ids, ids.flip(0))]
            torch.stack(pair).sum().backward()
    assert numbers(w) == [0, 2, 4]
    assert all(math.isfinite(values(one)[3, "model", "weight_grad", "grad_norm"])
               for one in w.profiles)  # fmt: skip


def test_the_loss_of_a_model_without_one_is_told() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = users_gpt()

        def forward(self, ids: Tensor) -> Tensor:
            return self.inner(ids, ids)[0]

    model, (ids,) = Hidden(), batches(1)
    with quiet(model) as w:
        logits = model(ids[:, :-1])
        loss = w.loss(nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))
        loss.backward()
        w.loss(loss * 2)  # once a step
    assert values(w.profile)[3, "loss", "forward", "loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert (3, "loss", "forward", "loss_excess") in values(w.profile)


# --- requests ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be at least 1, not 0"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"steps": "forwards"}, "unknown steps 'forwards': did you mean 'forward'?"),
        ({"steps": 3}, "an optimiser of torch's, not a int"),
        ({"sites": "leen"}, "unknown sites 'leen': did you mean 'lean'?"),
        ({"sites": ["resid_pst"]}, "unknown site 'resid_pst': did you mean 'resid_post'?"),
        ({"sites": []}, "no site is named"),
        ({"on_verdict": "rais"}, "unknown on_verdict 'rais': did you mean 'raise'?"),
        ({"ignore": ["IS999"]}, "unknown check 'IS999'"),
        ({"scalars": "resid_post/*"}, "scalars is a list of patterns"),
        ({"tensorboard": 3}, "tensorboard is a SummaryWriter or a folder, not a int"),
        ({"wandb": "offline"}, "wandb is what wandb.init"),
    ],
)
def test_what_cannot_be_right_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        initscope.watch(users_gpt(), **options)
    assert message in str(error.value)


def test_a_model_without_blocks_says_so_at_its_first_step() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(UsageError, match="no stack of blocks"), initscope.watch(model):
        model(torch.zeros(2, 4))
    assert hooks(model) == 0


def test_a_step_is_ended_by_hand_only_where_that_counts() -> None:
    with initscope.watch(users_gpt()) as w:
        assert w.profile is None
        assert w.verdict is None
        assert w.profiles == []
        with pytest.raises(UsageError, match='steps="manual"'):
            w.step()
        with pytest.raises(UsageError, match="already entered"), w:
            pass


def test_profiles_are_judged_and_stored_like_any_other(tmp_path: Any) -> None:
    w = watched(users_gpt(), 2)
    from initscope.store import encode, load

    for suffix in ("json", "parquet"):
        file = tmp_path / f"run.{suffix}"
        file.write_bytes(encode(w.profiles, suffix))
        for got, want in zip(load(file), w.profiles, strict=True):
            assert got.run == want.run
            np.testing.assert_equal(values(got), values(want))
    assert w.verdict == initscope.judge(w.profiles[1], since=w.profiles[0])
