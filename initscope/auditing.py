"""Auditing a user's model: building it under watch, at another depth and width, and on meta."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from initscope.anatomy import Anatomy
from initscope.anatomy.shape import shape
from initscope.errors import InitscopeError
from initscope.ledger import Ledger
from initscope.naming import Named
from initscope.options import Options
from initscope.origin.faults import ranked
from initscope.origin.groups import Member, grouped
from initscope.origin.matching import Judge, Match, alike
from initscope.origin.sample import Sample
from initscope.own import Subject
from initscope.provenance import Audit, Held, MetaPath, Variant
from initscope.redraw import share_of, sites_of
from initscope.resident import Feed, measure
from initscope.resident.engine import Index, locate
from initscope.resident.keeping import untouched
from initscope.rules import RULES, Rule
from initscope.rules.core import EMBEDDINGS, RESIDUAL, Site
from initscope.sampling import sample

SHALLOWER = 4  # times: the depths that the exponents are taken between
INITIALISERS = ("init_weights", "initialize_weights", "reset_parameters")


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
            that initialises all of it (:data:`INITIALISERS`).

    Raises:
        UsageError: where its parts are not found.
        MeasurementError: where it cannot be built or run, or was left on the meta device.
    """
    depth = subject.depths(options)[-1]
    built = _build(subject, options, depth)
    anatomy = built.anatomy
    labels = {one.path: (one.label, one.layer) for one in anatomy.parameters}
    members = list(_members(built))
    judge = Judge(grouped(members))
    loss, logits = _loss(subject, built)
    return Audit(
        target=subject.factory.target, n_layer=anatomy.n_layer, width=anatomy.width,
        held=tuple(_held(built.model, built.ledger, labels)),
        judge=judge, matches=tuple(_matches(judge, [m.named.site for m in members])),
        asked=None if rule is None else judge.match([rule]),
        factors=_factors(anatomy),
        fans={m.named.name: m.named.site.fan_in for m in members if m.named.site.role in RESIDUAL},
        shallower=_shallower(subject, options, depth), narrower=_narrower(subject, options, built),
        meta=_meta(subject, options, built.model, labels, wanted=meta),
        loss_excess=loss, logit_std=logits,
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


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _held(
    model: nn.Module, ledger: Ledger, labels: Mapping[str, tuple[str, int]]
) -> Iterator[Held]:
    """Yield every tensor once, with all the paths to it, parameters first."""
    paths: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for path, tensor in _tensors(model):
        paths.setdefault(id(tensor), []).append(path)
        tensors[id(tensor)] = tensor
    for key, tensor in tensors.items():
        named = next((labels[path] for path in paths[key] if path in labels), None)
        label, layer = named if named is not None else (paths[key][0], -1)
        owner = model.get_submodule(paths[key][0].rpartition(".")[0])
        yield Held(
            paths=tuple(paths[key]), label=label, layer=layer, shape=tuple(tensor.shape),
            writes=ledger.writes(tensor), sample=_sample(tensor),
            buffer=not isinstance(tensor, nn.Parameter),
            convolution=isinstance(owner, nn.modules.conv._ConvNd),  # noqa: SLF001 - their base
        )  # fmt: skip


def _sample(tensor: Tensor) -> Sample | None:
    if tensor.numel() == 0 or tensor.is_meta:
        return None
    real = tensor.real if tensor.is_complex() else tensor
    return sample(real if real.is_floating_point() else real.float())


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
    found = {path: _sample(tensor) for path, tensor in model.named_parameters()}
    return {path: (one.std, one.count) for path, one in found.items() if one is not None}


# --- the meta path ---


def _meta(
    subject: Subject,
    options: Options,
    model: nn.Module,
    labels: Mapping[str, tuple[str, int]],
    *,
    wanted: bool | None,
) -> MetaPath | None:
    how, _ = initialiser(model)
    if wanted is False or (wanted is None and not how.startswith(type(model).__name__)):
        return None
    device = next(model.parameters()).device
    ledger = Ledger()
    try:
        with torch.random.fork_rng(devices=[]), ledger:
            torch.manual_seed(1)  # another draw: a distribution is compared, not its numbers
            with torch.device("meta"):
                again = subject.factory.build()
            again.to_empty(device=device)
            how, initialise = initialiser(again)
            initialise()
    except Exception as error:  # noqa: BLE001 - a user's code, on a path that it may not know
        return MetaPath(how=how, error=f"{type(error).__name__}: {error}".partition("\n")[0])
    return MetaPath(how=how, held=tuple(_held(again, ledger, labels)))


def initialiser(model: nn.Module) -> tuple[str, Callable[[], object]]:
    """Return what initialises a model that was given memory, and its name.

    A method of the whole model; else what FSDP calls, ``reset_parameters`` of each module that
    holds parameters, and then ``_init_weights`` where the model applies one to its modules.
    """
    for name in INITIALISERS:
        method = getattr(model, name, None)
        if callable(method) and not _required(method):
            return f"{type(model).__name__}.{name}()", method
    each = getattr(model, "_init_weights", None)
    how = "reset_parameters() of each module"
    if not callable(each):
        return how, lambda: _reset(model)

    def both() -> None:
        _reset(model)
        model.apply(each)

    return f"{how}, then apply(_init_weights)", both


def _required(method: Callable[..., object]) -> bool:
    parameters = inspect.signature(method).parameters.values()
    named = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return any(p.default is p.empty and p.kind not in named for p in parameters)


def _reset(model: nn.Module) -> None:
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset) and module is not model:
            with torch.no_grad():
                reset()
