"""A watched training run ends as it would have, to the last bit, and waits for nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from test_resident_untouched import Counting, same, state
from users_gpt import users_gpt
from watched import batches, hooks, quiet, train, watched


@pytest.mark.parametrize("sites", ["lean", "all"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"checkpointing": "reentrant"}, {"checkpointing": "not"}, {"in_place": True},
     {"fused_softmax": False, "bias": True}],
    ids=str,
)  # fmt: skip
def test_training_ends_with_the_same_bits(fields: dict[str, Any], sites: str) -> None:
    def run(*, watch: bool) -> list[Any]:
        torch.manual_seed(0)
        model = Counting(users_gpt(dropout=0.1, **fields)).train()
        model.inner.transformer["h"][0].eval()  # type: ignore[index, union-attr]
        losses = train(model, 5, quiet(model, 2, sites=sites) if watch else None)
        return [*losses, *state(model)]

    plain, seen = run(watch=False), run(watch=True)
    assert len(plain) == len(seen)
    assert all(same(a, b) for a, b in zip(plain, seen, strict=True))


def test_nothing_is_hooked_between_watched_steps_nor_left_behind() -> None:
    model = users_gpt()
    counted: list[int] = []
    whole = model.transformer["h"][1].mlp  # type: ignore[index]
    whole.register_forward_hook(lambda *_: counted.append(hooks(model)))
    watched(model, 5, every=2)
    own, gate = 1, 2  # the hook that counts, and the two at the model
    _, *steps = counted  # the first pass finds the parts
    assert [number == own + gate for number in steps] == [False, True, False, True, False]
    assert hooks(model) == own


@pytest.mark.parametrize(
    ("where", "kind"),
    [("loop", KeyboardInterrupt), ("forward", IndexError), ("backward", RuntimeError)],
)
def test_an_error_goes_through_and_leaves_no_hook(where: str, kind: type[BaseException]) -> None:
    model = users_gpt()
    w = quiet(model)

    def loop() -> None:
        (ids,) = batches(1)
        _, loss = model(ids[:, :-1], ids[:, 1:])
        loss.backward()
        if where == "loop":
            raise KeyboardInterrupt
        if where == "forward":
            model(ids.repeat(1, 4), ids.repeat(1, 4))  # beyond the position table
        loss.backward()  # its graph is gone

    with pytest.raises(kind), w:
        loop()
    assert hooks(model) == 0
    assert [profile.run.step for profile in w.profiles] == [0]


def test_a_copy_of_the_model_is_not_watched_and_the_model_can_be_saved() -> None:
    model, (ids,) = users_gpt().train(), batches(1)
    with quiet(model) as w:
        model(ids[:, :-1], ids[:, 1:])[1].backward()
        assert w.profile is not None
        saved = pickle.loads(pickle.dumps(model))  # noqa: S301 - our own
        for copied in (copy.deepcopy(model), saved):
            copied(ids[:, :-1], ids[:, 1:])[1].backward()
        assert len(w.profiles) == 1
        model(ids[:, :-1], ids[:, 1:])[1].backward()
    assert [profile.run.step for profile in w.profiles] == [0, 1]


SYNCS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default}


class Syncs(TorchDispatchMode):
    """Counts what would make the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in SYNCS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("sites", ["lean", "all"])
def test_no_host_sync_in_a_watched_step(sites: str) -> None:
    """Before its read-out, that is; finding the parts, once at the first step, is apart."""
    model = users_gpt().train()
    reads: list[int] = []
    with quiet(model, sites=sites) as w:
        for place, ids in enumerate(batches(3)):
            with Syncs() as mode:
                model(ids[:, :-1], ids[:, 1:])[1].backward()
            reads.append(mode.count)
            assert len(w.profiles) == place + 1
    assert reads[0] > 0  # so that what counts is seen to count
    assert reads[1:] == [0, 0]
