"""A look at a few tokens finds what a look at all of them finds, or is not trusted."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from families import FAMILIES, family
from initscope.anatomy import Anatomy, View, find
from initscope.resident import feed, measure
from initscope.resident.engine import locate
from initscope.resident.feed import Feed
from initscope.resident.glance import TOKENS, shortened
from resident_readings import assert_same
from users_gpt import users_gpt

LENGTH = 40


def ids(batch: int = 2, length: int = LENGTH, vocab: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, vocab, (batch, length + 1), generator=generator)


def calls(model: nn.Module, given: Feed) -> list[int]:
    """Return the lengths that the model was called with while its parts were looked for."""
    seen: list[int] = []

    def note(_module: nn.Module, args: Any, kwargs: Any) -> None:
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        seen.append(tensors[0].shape[1])

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    locate(model, given)
    handle.remove()
    return seen


def described(anatomy: Anatomy) -> list[Any]:
    """Say all of an anatomy that a measurement goes by; factors are rounded quotients."""
    return [
        (
            part.path, part.norm, part.activation, part.gated, part.n_head, part.n_kv_head,
            part.d_ff, {site: pytest.approx(x, rel=1e-4) for site, x in part.factors.items()},
            sorted((tap.site, tap.path, tap.side, tap.count, cut(tap.view)) for tap in part.taps),
        )
        for part in anatomy.parts
    ]  # fmt: skip


def cut(view: View | None) -> tuple[Any, ...]:
    """Say what a view cuts; where there is one sequence alone, how far to the next is nothing."""
    if view is None:
        return ()
    strides = zip(view.size, view.stride, strict=True)
    return view.size, [0 if size == 1 else stride for size, stride in strides], view.offset


@pytest.mark.parametrize("name", FAMILIES)
def test_a_few_tokens_find_the_parts_of_each_family(name: str) -> None:
    model = family(name)
    given = feed(model, ids())
    with torch.no_grad():
        whole = find(model, lambda: given.call(model), given.ids)
    assert described(locate(model, given)) == described(whole)


@pytest.mark.parametrize("batch", [1, 3, TOKENS])
def test_parts_of_one_output_are_cut_at_the_full_length(batch: int) -> None:
    model = family("gpt2")
    given = feed(model, ids(batch))
    with torch.no_grad():
        whole = find(model, lambda: given.call(model), given.ids)
    found = locate(model, given)
    assert any(tap.view is not None for tap in found.parts[0].taps)
    assert described(found) == described(whole)


def test_readings_are_those_of_a_whole_look() -> None:
    model = family("gpt2")
    batch = ids()
    short = measure(model, feed(model, batch)).readings
    with mock.patch("initscope.resident.engine.shortened", return_value=None):
        whole = measure(model, feed(model, batch)).readings
    assert_same({r[:4]: r.value for r in short}, {r[:4]: r.value for r in whole})


def test_a_short_look_comes_first_and_alone() -> None:
    model = users_gpt(block_size=64)
    assert calls(model, feed(model, ids(vocab=50))) == [TOKENS]


class Particular(nn.Module):
    """A model that takes one length only."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = users_gpt(block_size=64)

    def forward(self, ids: Tensor) -> Any:
        assert ids.shape[1] == LENGTH, "this length and no other"
        return self.inner(ids)


def test_a_model_of_one_length_is_looked_at_whole() -> None:
    model = Particular()
    assert calls(model, feed(model, ids(vocab=50))) == [TOKENS, LENGTH]


def test_experts_that_a_few_tokens_pass_by_are_looked_for_with_all() -> None:
    from initscope.resident import engine

    model = users_gpt(block_size=64)
    layer = next(m for m in model.modules() if type(m).__name__ == "Layer")
    layer.register_module("rarely", nn.Linear(4, 4))
    given = feed(model, ids(vocab=50))
    assert calls(model, given) == [TOKENS, LENGTH]
    assert engine.locate(model, given).n_layer > 0


@pytest.mark.parametrize(("hidden", "cut"), [(0, True), (5, False)])
def test_a_mask_with_holes_is_not_cut(hidden: int, *, cut: bool) -> None:
    tokens = ids()
    mask = torch.ones_like(tokens)
    mask[0, :hidden] = 0
    given = feed(family("gpt2"), {"input_ids": tokens, "attention_mask": mask})
    assert (shortened(given) is not None) == cut


@pytest.mark.parametrize("extra", [torch.ones(2, 1, LENGTH + 1, LENGTH + 1), [1, 2], torch.ones(3)])
def test_what_cannot_be_cut_keeps_the_batch_whole(extra: object) -> None:
    given = feed(family("gpt2"), {"input_ids": ids(), "other": extra})
    assert shortened(given) is None


def test_a_short_batch_stays_as_it_is() -> None:
    assert shortened(feed(family("gpt2"), ids(length=2 * TOKENS))) is None
