"""What a profile says of a user's model, and what theory says of a rule in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch

from initscope import sweep
from initscope.anatomy import Anatomy
from initscope.anatomy.shape import shape
from initscope.config import GPTConfig
from initscope.options import Options
from initscope.profile import Profile, Reading, Run
from initscope.redraw import prescribe, unlike
from initscope.resident import Feed
from initscope.resident.engine import Measured
from initscope.resident.ranks import ALONE, Ranks
from initscope.rules.core import Multipliers, Rule
from initscope.theory import try_theory
from initscope.tokens import Ids
from initscope.tokens import describe as describe_tokens


def describe(anatomy: Anatomy, given: Feed, vocab: int = 0) -> GPTConfig:
    """Return the nearest configuration to a model."""
    if not vocab and anatomy.wte is not None:
        vocab = getattr(anatomy.wte[1], "num_embeddings", 0)
    length = given.ids.shape[1] if given.ids is not None else 1
    return shape(anatomy, vocab_size=vocab or 1, seq_len=length)


def shape_of(found: Measured, given: Feed) -> GPTConfig:
    """Return the nearest configuration to a model that was measured."""
    return describe(found.anatomy, given, found.vocab_size)


def run_of(anatomy: Anatomy, given: Feed, *, model: str, tokens: str, ranks: Ranks = ALONE) -> Run:
    """Say how the readings of a model were taken, and of what inputs."""
    parameters = anatomy.parameters
    batch, length = given.ids.shape if given.ids is not None else (0, 0)
    batch = ranks.over_shares(batch)
    first = parameters[0].parameter
    return Run(
        source="resident", device=str(first.device), dtype=str(first.dtype).removeprefix("torch."),
        tokens=describe_tokens(tokens, batch, length), batch=batch, seq_len=length, seeds=(0,),
        versions=sweep.versions(), model=model,
        parameters=sum(one.parameter.numel() for one in parameters),
    )  # fmt: skip


def prescribed(anatomy: Anatomy, given: Feed, rule: Rule | None) -> Iterator[Reading]:
    """Yield what a rule says of each of a model's parameters."""
    if rule is not None:
        yield from prescribe(anatomy, rule, describe(anatomy, given)).prescribed


def beside(
    profile: Profile,
    rule: Rule,
    options: Options,
    anatomy: Anatomy,
    given: Sequence[Feed],
    *,
    drawn: bool = False,
) -> Profile:
    """Set what theory says of a rule beside the profile of a model, or say why it cannot.

    ``given`` is what the model was called with, a seed each. Where we have ``drawn`` it by the rule
    ourselves, what it multiplies is no mistake, and nothing is expected of its steps.
    """
    rule = dataclasses.replace(rule, multipliers=lambda _site: Multipliers()) if drawn else rule
    config = profile.config
    other = unlike(anatomy, prescribe(anatomy, rule, config), config)
    ids = [_ids(one) for one in given if one.ids is not None]
    other = other if ids else "inputs that are no token ids"
    return try_theory(profile, rule, options, ids=ids, steps=not drawn, unlike=other)


def _ids(given: Feed) -> Ids:
    """Return inputs (B, T) with what follows the last, (B, T + 1); itself where that is unknown."""
    assert given.ids is not None
    last = given.ids if given.targets is None else given.targets
    return torch.cat([given.ids, last[:, -1:]], dim=1).cpu().numpy()
