"""Which rule drew these weights? A checkpoint or a model, against the catalogue."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from initscope.checkpoint import Checkpoint, open_checkpoint
from initscope.config import GPTConfig
from initscope.errors import MeasurementError
from initscope.naming import Layout, Named, Shape, read_names
from initscope.origin.faults import FACTORS, ranked
from initscope.origin.groups import Member, grouped
from initscope.origin.matching import Judge, Match, alike, canonical, common_factor
from initscope.origin.result import Identification
from initscope.origin.sample import Sample
from initscope.rules import RULES, Rule
from initscope.sampling import sample

EMBEDDINGS = {"wte", "wpe"}  # whose rows stand for themselves


def identify(
    source: str | Path | nn.Module | Mapping[str, Any],
    *,
    n_head: int = 0,
    rules: Sequence[Rule] | None = None,
) -> Identification:
    """Say which rules can have drawn a model's weights.

    Args:
        source: a checkpoint's file or folder, a module, or a state dict, at initialisation.
        n_head: attention heads; 0 takes what the checkpoint tells, else 64 wide heads.
        rules: what to look among; the catalogue unless given.

    Raises:
        UsageError: for a path or a number of heads that cannot be.
        MeasurementError: for a checkpoint that cannot be read, or is no GPT's.
    """
    checkpoint = open_checkpoint(source)
    layout = read_names(checkpoint.shapes, n_head, saved_heads=checkpoint.n_head)
    members, remarks = without_shift(list(_members(checkpoint, layout)))
    members, tied = _without_copy(members)
    groups = grouped(members)
    judge = Judge(groups)
    sites = [member.named.site for member in members]
    classes = alike(list(RULES.values()) if rules is None else rules, sites)
    classes = [_by_architecture(found, layout.shape, tied=tied) for found in classes]
    matches = ranked(judge, [judge.match(found) for found in classes])
    rescaled = None if matches[0].fits else _rescaled(judge, matches)
    if rescaled is not None:  # a rule that is right but for one number is the nearest
        matches.sort(key=lambda match: match.rules != rescaled.rules)
    return Identification(
        source=checkpoint.label, layout=layout, groups=tuple(groups), matches=tuple(matches),
        rescaled=rescaled,
        heads_matter=_heads_matter(layout, members, classes),
        remarks=(*remarks, *_padding(members)), tied=tied, judge=judge,
    )  # fmt: skip


def _members(checkpoint: Checkpoint, layout: Layout) -> Iterator[Member]:
    """Read tensor by tensor; the parts of a fused one are taken from one reading."""
    parts: dict[str, list[Named]] = {}
    for named in layout.parameters:
        parts.setdefault(named.name, []).append(named)
    for name, found in parts.items():
        tensor = _read(checkpoint, name)
        for named in found:
            rows = named.site.role in EMBEDDINGS
            yield Member(named, sample(tensor, named.part, rows=rows))


def _read(checkpoint: Checkpoint, name: str) -> Any:  # noqa: ANN401 - a Tensor, checked here
    try:
        tensor = checkpoint.read(name)
    except Exception as error:
        raise MeasurementError(f"cannot read {name} of {checkpoint.label}: {error}") from error
    if not tensor.is_floating_point():
        raise MeasurementError(f"{name} of {checkpoint.label} is {tensor.dtype}: quantised")
    if tensor.is_meta:
        raise MeasurementError(f"{name} of {checkpoint.label} is on the meta device: no values")
    return tensor


def without_shift(members: list[Member]) -> tuple[list[Member], list[str]]:
    """Add 1 to gains that are all 0: Gemma's norms multiply by 1 + gain."""
    gains = [m for m in members if m.named.site.role == "norm_gain"]
    if not gains or not all(m.sample.constant and m.sample.low == 0 for m in gains):
        return members, []
    shifted = [
        Member(m.named, dataclasses.replace(m.sample, mean=1.0, mean_abs=1.0, low=1.0, high=1.0))
        if m.named.site.role == "norm_gain" else m
        for m in members
    ]  # fmt: skip
    return shifted, ["all norm gains are 0, and so taken for gain − 1, as Gemma saves them"]


def _without_copy(members: list[Member]) -> tuple[list[Member], bool]:
    """Leave out a head that is the token embedding to the last bit."""
    embeddings = [_bits(m.sample) for m in members if m.named.site.role == "wte"]
    kept = [
        m for m in members
        if m.named.site.role != "head" or m.sample.constant or _bits(m.sample) not in embeddings
    ]  # fmt: skip
    heads = sum(m.named.site.role == "head" for m in kept)
    return kept, heads == 0


def _bits(found: Sample) -> tuple[float, ...]:
    return found.mean, found.std, found.mean_abs, found.low, found.high


def _padding(members: Sequence[Member]) -> Iterator[str]:
    for member in members:
        rows = member.sample.zero_rows
        if rows:
            word = "row" if rows == 1 else "rows"
            yield f"{rows} {word} of zeros in {member.named.name} left out, as padding"


def _by_architecture(rules: Sequence[Rule], shape: Shape, *, tied: bool) -> tuple[Rule, ...]:
    """Put first the rules whose architecture is nearest what the names show."""
    return tuple(sorted(rules, key=lambda rule: _differences(rule, shape, tied=tied)))


def _differences(rule: Rule, shape: Shape, *, tied: bool) -> int:
    config = GPTConfig.from_dict({"n_layer": 1, **rule.architecture})
    return sum((
        config.tied != tied,
        config.bias != shape.bias,
        config.gated != shape.gated,
        (config.positions == "learned") != shape.learned_positions,
        config.norm_kind == "rmsnorm" and shape.layernorm,
    ))  # fmt: skip


def _rescaled(judge: Judge, matches: Sequence[Match]) -> Match | None:
    """Find a rule that fits with all its stds times one factor, a well-known factor first."""
    fits = [found for match in matches for found in _times_one_factor(judge, match)]
    known = set(FACTORS.values())
    return min(
        fits, key=lambda found: (found.factor not in known, abs(math.log(found.factor))),
        default=None,
    )  # fmt: skip


def _times_one_factor(judge: Judge, match: Match) -> Iterator[Match]:
    common = common_factor(judge.groups, match.rules[0].draw)
    if common is None:
        return
    measured, error = common
    known = [one for one in FACTORS.values() if math.isclose(one, measured, rel_tol=4 * error)]
    found = judge.match(match.rules, known[0] if known else measured)
    if found.fits:
        yield found


def _heads_matter(
    layout: Layout, members: Sequence[Member], classes: Sequence[Sequence[Rule]]
) -> tuple[str, ...]:
    """Name the rules that another number of heads would change, where it is a guess."""
    if layout.shape.heads_from != "width":
        return ()
    sites = [member.named.site for member in members]
    others = [dataclasses.replace(site, n_head=site.n_embd) for site in sites]
    pairs = [(a, b) for a, b in zip(sites, others, strict=True) if a.n_head != b.n_head]
    return tuple(
        rule.name for found in classes for rule in found
        if any(canonical(rule.draw(a)) != canonical(rule.draw(b)) for a, b in pairs)
    )  # fmt: skip
