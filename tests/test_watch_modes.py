"""A watched training loop under checkpointing, autocast, compilation and the like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import initscope
from families import family
from resident_readings import assert_same
from users_gpt import Shared, users_gpt
from watched import batches, hooks, quiet, train, values, watched


@pytest.mark.parametrize("kind", ["reentrant", "not"])
def test_checkpointed_blocks_read_the_same_at_every_step(kind: str) -> None:
    plain, seen = (watched(users_gpt(checkpointing=c), 3, sites="all") for c in ("", kind))
    for got, want in zip(seen.profiles, plain.profiles, strict=True):
        assert_same(values(got), values(want))
        assert len(values(got)) == len(values(want))


def test_under_autocast_the_profile_names_what_is_computed_in() -> None:
    def run(*, watch: bool) -> tuple[nn.Module, Any]:
        model, (ids,) = users_gpt(), batches(1)
        w = quiet(model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if watch:
                w.__enter__()
            loss = model(ids[:, :-1], ids[:, 1:])[1]
        loss.backward()
        return model, w

    (plain, _), (model, w) = run(watch=False), run(watch=True)
    for a, b in zip(plain.parameters(), model.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)
    assert w.profile.run.dtype == "bfloat16"
    full = values(watched(users_gpt(), 1).profile)
    got = values(w.profile)
    for key in [(2, "resid_post", "forward", "variance"), (-1, "embed", "backward", "variance"),
                (2, "mlp_down", "weight_grad", "second_moment")]:  # fmt: skip
        assert got[key] == pytest.approx(full[key], rel=0.05)
        assert got[key] != full[key]
    w.__exit__(None)
    assert hooks(model) == 0


@pytest.fixture
def compiled_calls() -> Iterator[list[object]]:
    """Count the calls of graphs that were compiled; a cache of earlier tests is left out."""
    torch._dynamo.reset()
    calls: list[object] = []
    yield calls
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's, where it compiles a block
@pytest.mark.parametrize("way", ["blocks", "checkpointed blocks", "whole", "in place"])
def test_what_is_compiled_runs_as_written_on_watched_steps_alone(
    way: str, compiled_calls: list[object]
) -> None:
    def backend(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        def run(*args: Any) -> Any:
            compiled_calls.append(graph)
            return graph.forward(*args)

        return run

    def build() -> Any:
        model: Any = users_gpt(checkpointing="not" if way.startswith("checkpointed") else "")
        if way == "whole":
            return torch.compile(model, backend=backend)
        if way == "in place":
            model.compile(backend=backend)
        else:
            layers = model.transformer["h"]
            for place, layer in enumerate(list(layers)):
                layers[place] = torch.compile(layer, backend=backend)
        return model

    model, calls = build(), list[int]()
    before = model._compiled_call_impl
    w = quiet(model, 2)
    losses = train(model, 4, w, after=lambda _: calls.append(len(compiled_calls)))
    ran = np.diff([0, *calls]) > 0
    assert ran.tolist() == [False, True, False, True]
    assert model._compiled_call_impl is before
    assert hooks(model) == 0
    want = watched(users_gpt(), 4, every=2)
    for got, profile in zip(w.profiles, want.profiles, strict=True):
        assert_same(values(got), values(profile))
    for a, b in zip(losses, train(users_gpt(), 4), strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-5)


def test_frozen_parameters_stay_frozen_and_have_no_gradient() -> None:
    def frozen() -> nn.Module:
        model = users_gpt()
        model.transformer["h"][0].requires_grad_(requires_grad=False)  # type: ignore[index]
        return model

    model = frozen()
    got = values(watched(model, 2).profile)
    want = values(watched(users_gpt(), 1).profile)
    missing = {key for key in want if key not in got}
    assert missing == {key for key in want if key[2] == "weight_grad" and key[0] == 0}
    plain = frozen()
    train(plain, 2)
    assert all(map(torch.equal, model.parameters(), plain.parameters()))


def test_a_wholly_frozen_model_is_profiled_forward() -> None:
    model, (ids,) = users_gpt().requires_grad_(requires_grad=False), batches(1)
    with quiet(model) as w:
        model(ids[:, :-1], ids[:, 1:])
    assert {direction for _, _, direction, _ in values(w.profile)} == {"forward", "weight"}


def test_an_optimiser_that_steps_inside_the_backward_pass_goes_on_doing_so() -> None:
    def run(*, watch: bool) -> tuple[nn.Module, Any]:
        model = users_gpt()

        @torch.no_grad()
        def step(parameter: Tensor) -> None:
            assert parameter.grad is not None
            parameter -= 0.1 * parameter.grad
            parameter.grad = None

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(step)
        w = quiet(model)
        if watch:
            w.__enter__()
        for ids in batches(3):
            model(ids[:, :-1], ids[:, 1:])[1].backward()
        w.__exit__(None)
        return model, w

    (plain, _), (model, w) = run(watch=False), run(watch=True)
    assert all(map(torch.equal, model.parameters(), plain.parameters()))
    want = values(watched(users_gpt(), 1).profile)
    assert_same(values(w.profiles[0]), want)


def test_a_block_that_runs_several_times_reads_as_many_layers() -> None:
    model, (ids,) = Shared().train(), batches(1)
    with quiet(model) as w:
        for _ in range(2):
            model(ids).square().mean().backward()
    for profile in w.profiles:
        got = values(profile)
        for direction in ("forward", "backward"):
            found = [got[layer, "resid_post", direction, "variance"] for layer in range(4)]
            assert len(set(found)) == 4


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_models_of_transformers_are_watched(name: str) -> None:
    model = family(name).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with initscope.watch(model, every=1, steps=optimiser) as w:
        for ids in batches(2):
            model(input_ids=ids, labels=ids).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    assert [one.run.step for one in w.profiles] == [0, 1]
    got = values(w.profile)
    assert {(1, "resid_post", "backward", "variance"), (2, "loss", "forward", "loss"),
            (0, "mlp_down", "forward", "branch_ratio")} <= got.keys()  # fmt: skip
