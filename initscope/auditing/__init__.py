"""Auditing a user's model: building it under watch, at another depth and width, and on meta."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import nn

from initscope.anatomy import Anatomy
from initscope.anatomy.shape import shape
from initscope.auditing.holding import held, measured
from initscope.auditing.meta import meta_path
from initscope.errors import InitscopeError, UsageError
from initscope.identifying import without_shift
from initscope.ledger import Ledger
from initscope.naming import Named
from initscope.options import Options
from initscope.origin.faults import ranked
from initscope.origin.groups import Member, grouped
from initscope.origin.matching import Judge, Match, alike
from initscope.own import Subject
from initscope.provenance import Audit, Variant
from initscope.redraw import share_of, sites_of
from initscope.resident import Feed, measure
from initscope.resident.engine import Index, locate
from initscope.resident.keeping import untouched
from initscope.rules import RULES, Rule
from initscope.rules.core import EMBEDDINGS, RESIDUAL, Site
from initscope.sampling import sample

SHALLOWER = 4  # times: the depths that the exponents are taken between


class _Built(NamedTuple):
    model: nn.Module
    ledger: Ledger
    given: Feed
    anatomy: Anatomy


def audit(
    subject: Subject, options: Options, rule: Rule | None = None, *, meta: bool | None = None
) -> Audit:
    """Say of every parameter and buffer of a model what wrote it, and find mistakes.

    Args:
        subject: the model; its own initialisation is looked at.
        options: what to call it with, and where.
        rule: the rule that it should follow; None holds it against none.
        meta: whether to build it on the meta device too; None does where the model has a method
            that initialises all of it (:data:`~initscope.auditing.meta.INITIALISERS`).

    Raises:
        UsageError: where its parts are not found, or it was built before.
        MeasurementError: where it cannot be built or run, or was left on the meta device.
    """
    subject.require_whole(options)
    depth = subject.depths(options)[-1]
    built = _build(subject, options, depth)
    anatomy = built.anatomy
    labels = {one.path: (one.label, one.layer) for one in anatomy.parameters}
    found = tuple(held(built.model, built.ledger, labels))
    if all(one.writes is None for one in found):
        raise UsageError(
            f"{subject.factory.target} is built before it can be watched: name the class or "
            "function that builds it"
        )
    members, _ = without_shift(list(_members(built)))
    judge = Judge(grouped(members))
    loss, logits = _loss(subject, built)
    return Audit(
        target=subject.factory.target, n_layer=anatomy.n_layer, width=anatomy.width,
        held=found, judge=judge, matches=tuple(_matches(judge, [m.named.site for m in members])),
        asked=None if rule is None else judge.match([rule]),
        factors=_factors(anatomy),
        fans={m.named.name: m.named.site.fan_in for m in members if m.named.site.role in RESIDUAL},
        shallower=_shallower(subject, options, depth), narrower=_narrower(subject, options, built),
        switches=_switches(subject),
        meta=meta_path(subject, built.model, labels, wanted=meta),
        loss_excess=loss, logit_std=logits,
    )  # fmt: skip


def _switches(subject: Subject) -> tuple[str, ...]:
    """Name the arguments that are on and ask for muP: ``mup``, ``use_mup``, ``mup_init``."""
    arguments = {**subject.factory.defaults, **subject.factory.given}
    return tuple(
        name for name, value in arguments.items()
        if value is True and "mup" in name.lower().split("_")
    )  # fmt: skip


# --- the model as it is ---


def _build(subject: Subject, options: Options, depth: int | None) -> _Built:
    ledger = Ledger()
    with ledger:
        model = subject.build(depth, options, 0)
    given = subject.feed(model, options, 0)
    with untouched(model):
        anatomy = locate(model, given, subject.blocks)
    return _Built(model, ledger, given, anatomy)


def _members(built: _Built) -> Iterator[Member]:
    """Yield each parameter that has a site, a fused one share by share."""
    anatomy, ids = built.anatomy, built.given.ids
    vocab = getattr(anatomy.wte[1], "num_embeddings", 1) if anatomy.wte is not None else 1
    length = ids.shape[1] if ids is not None else 1
    config = shape(anatomy, vocab_size=vocab, seq_len=length)
    for one in anatomy.parameters:
        for label, site, features in sites_of(anatomy, one, config):
            tensor = share_of(anatomy, one, features)
            found = sample(tensor, rows=site.role in EMBEDDINGS)
            yield Member(Named(one.path, label, site), found)


def _matches(judge: Judge, sites: Sequence[Site]) -> list[Match]:
    if not sites:
        return []
    return ranked(judge, [judge.match(found) for found in alike(list(RULES.values()), sites)])


def _factors(anatomy: Anatomy) -> dict[str, float]:
    return dict(anatomy.parts[-1].factors)


def _loss(subject: Subject, built: _Built) -> tuple[float, float]:
    """Return how far the initial loss is above ln(vocab), and the std of the logits."""
    found = measure(built.model, built.given, backward=False, blocks=subject.blocks)
    index: Index = {reading[:4]: reading.value for reading in found.readings}
    last = found.anatomy.n_layer
    variance = index.get((last, "logits", "forward", "variance"), math.nan)
    excess = index.get((last, "loss", "forward", "loss_excess"), math.nan)
    return excess, math.sqrt(variance) if variance >= 0 else math.nan


# --- the model otherwise ---


def _shallower(subject: Subject, options: Options, depth: int | None) -> Variant | None:
    if depth is None or not options.depth_law:
        return None
    other = depth // SHALLOWER or depth * SHALLOWER
    built = _build(subject, options, other)
    return Variant(built.anatomy.n_layer, _stds(built.model), _factors(built.anatomy))


def _narrower(subject: Subject, options: Options, built: _Built) -> Variant | None:
    """Build the model at half its width, where the code allows that."""
    width, heads = subject.factory.value("n_embd"), subject.factory.value("n_head")
    if not isinstance(width, int) or width != built.anatomy.width:
        return None
    if isinstance(heads, int) and width // 2 % (2 * heads):  # rotary positions pair the channels
        return None
    try:
        factory = subject.factory.using({"n_embd": width // 2})
        model = dataclasses.replace(subject, factory=factory).build(None, options, 0)
    except InitscopeError:
        return None
    return Variant(width // 2, _stds(model), {})


def _stds(model: nn.Module) -> dict[str, tuple[float, int]]:
    found = {path: measured(tensor) for path, tensor in model.named_parameters()}
    return {path: (one.std, one.count) for path, one in found.items() if one is not None}
