"""One measurement of a whole model: weights, one forward and one backward pass, one read-out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import nn

from initscope.anatomy import Anatomy, Part, find, unwrap
from initscope.anatomy.local import is_distributed, local
from initscope.errors import MeasurementError
from initscope.profile import Reading
from initscope.readout import Key
from initscope.recorder import Recorder
from initscope.resident.feed import Feed, Outcome, understand
from initscope.resident.glance import shortened, stretched
from initscope.resident.keeping import untouched
from initscope.resident.ranks import Ranks
from initscope.resident.spread import apart, class_name, ranks_of
from initscope.resident.watching import Watch

Index = dict[tuple[int, str, str, str], float]
Bring = Callable[[nn.Parameter], None]


class Measured(NamedTuple):
    """The readings, what was found in the model, and its vocabulary (0 where it shows none)."""

    readings: list[Reading]
    anatomy: Anatomy
    vocab_size: int


def measure(
    model: nn.Module,
    given: Feed,
    *,
    backward: bool = True,
    blocks: str = "",
    training: bool | None = None,
    bring: Bring | None = None,
) -> Measured:
    """Measure a model on one batch, and leave it as it was.

    Where it is spread over several processes each is given its share of the batch, and all of
    them the readings of the whole.

    Args:
        model: any module with a stack of blocks.
        given: what it is called with.
        backward: whether to measure gradients too.
        blocks: the blocks' paths, where they are not found.
        training: the mode to measure in; None keeps the model's own.
        bring: gives a parameter its values before they are read, where it does not keep them.

    Raises:
        UsageError: where the parts are not found, or neither logits nor a loss come out.
        MeasurementError: where no gradient can be taken, or another process has failed.
    """
    recorder, ranks = Recorder(), ranks_of(model)
    ranks.agree(class_name(model), backward, blocks, training)
    with apart(model) as (module, reshard), untouched(unwrap(module), training=training):
        anatomy = locate(module, given, blocks)
        reshard()
        record_weights(anatomy, recorder, bring=bring)
        outcome = _run(module, anatomy, given, recorder, ranks, backward=backward)
        readings = recorder.readings(ranks.pool)
    vocab = outcome.logits.shape[-1] if outcome.logits is not None else 0
    return Measured(derived(anatomy, readings, vocab), anatomy, vocab)


def locate(model: nn.Module, given: Feed, blocks: str = "") -> Anatomy:
    """Find a model's parts by one pass, whose random numbers the measurement then meets again.

    A few tokens are tried first: that costs little. Not where the model is spread over processes,
    which would have to fail at it together.
    """
    devices = {p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(sorted(devices)):
        spread = any(is_distributed(parameter) for parameter in model.parameters())
        short = None if spread else shortened(given)
        if short is not None and given.ids is not None:
            with suppress(Exception):  # the model's own, at a length that it may not take
                found = find(model, lambda: short.call(model), short.ids, blocks)
                if (whole := stretched(found, given.ids.shape[1])) is not None:
                    return whole
    with torch.random.fork_rng(sorted(devices)):
        return find(model, lambda: given.call(model), given.ids, blocks)


@torch.no_grad()
def record_weights(
    anatomy: Anatomy, recorder: Recorder, order: int = 4, bring: Bring | None = None
) -> None:
    """Record the moments of every parameter, once ``bring`` has given it its values."""
    for one in anatomy.parameters:
        if bring is not None:
            bring(one.parameter)
        held = local(one.parameter)
        if held.numel():  # a share of a small parameter may be empty
            key = Key(one.layer, one.label, "weight", "weight")
            recorder.add_moments(key, held, order)


def _run(
    model: nn.Module,
    anatomy: Anatomy,
    given: Feed,
    recorder: Recorder,
    ranks: Ranks,
    *,
    backward: bool,
) -> Outcome:
    counted = given.counted() if ranks else 1
    weight = ranks.weight(counted)
    watch = Watch(anatomy, recorder, backward=backward, ranks=ranks, length=given.length)
    with watch, torch.set_grad_enabled(backward):
        with watch.attention():
            out = given.call(model)
        outcome = understand(out, given)
        if outcome.logits is not None:
            watch.see_logits(outcome.logits)
        if outcome.loss is not None:
            key = Key(anatomy.n_layer, "loss", "forward", "loss")
            recorder.add(key, local(outcome.loss).detach().float(), counted)
        if backward:
            _differentiate(outcome, weight)
        watch.see_the_rest()
    return outcome


def _differentiate(outcome: Outcome, weight: float) -> None:
    if outcome.loss is None:
        raise MeasurementError(
            "the model returned logits that are not one a token, and no loss: pass targets in the "
            "batch, or leave the gradients out (--forward-only)"
        )
    if not outcome.loss.requires_grad:
        raise MeasurementError(
            "the loss depends on no parameter that requires a gradient: unfreeze one, or leave "
            "the gradients out (--forward-only)"
        )
    loss = outcome.loss if weight == 1 else outcome.loss * weight
    loss.backward()


# --- what follows from the readings ---


def derived(anatomy: Anatomy, readings: Sequence[Reading], vocab: int) -> list[Reading]:
    """Add what follows from the readings: branch ratios, the excess loss, the gradient's norm."""
    index: Index = {reading[:4]: reading.value for reading in readings}
    last = anatomy.n_layer
    more = [r for layer, part in enumerate(anatomy.parts) for r in _ratios(layer, part, index)]
    loss = index.get((last, "loss", "forward", "loss"))
    if loss is not None and vocab:
        more.append(Reading(last, "loss", "forward", "loss_excess", loss - math.log(vocab)))
    return [*readings, *more, *_gradient_norm(anatomy, index)]


def _ratios(layer: int, part: Part, index: Index) -> Iterator[Reading]:
    middle = "resid_mid" if "resid_mid" in part.sites else "resid_pre"
    for site, stream, normed in (
        ("attn_out", "resid_pre", "norm_1_out"), ("mlp_down", middle, "norm_2_out"),
    ):  # fmt: skip
        end = normed if normed in part.sites else site
        added = index.get((layer, end, "forward", "second_moment"))
        onto = _second_moment(layer, stream, index)
        if added is not None and onto is not None:
            ratio = math.sqrt(added / onto) if 0 < onto < math.inf else math.nan
            ratio *= part.factors.get(site, 1.0)
            yield Reading(layer, site, "forward", "branch_ratio", ratio)


def _second_moment(layer: int, stream: str, index: Index) -> float | None:
    """Return a stream's; what enters a block is, where it was not measured, what left the last."""
    found = index.get((layer, stream, "forward", "second_moment"))
    if found is None and stream == "resid_pre":
        before = (layer - 1, "resid_post") if layer else (-1, "embed")
        found = index.get((*before, "forward", "second_moment"))
    return found


def _gradient_norm(anatomy: Anatomy, index: Index) -> Iterator[Reading]:
    squares = [
        index[key] * one.parameter.numel() for one in anatomy.parameters
        if (key := (one.layer, one.label, "weight_grad", "second_moment")) in index
    ]  # fmt: skip
    if squares:
        norm = math.sqrt(sum(squares))
        yield Reading(anatomy.n_layer, "model", "weight_grad", "grad_norm", norm)
