"""An identification in words: the headline, what does not fit, and what weights do not show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initscope.notation import number
from initscope.origin.groups import Group, Member, describe, pooled_std
from initscope.origin.matching import Match, Miss
from initscope.origin.result import Identification
from initscope.rules.core import Draw, Multipliers, Rule

VARIES = 1.2  # largest std over the smallest, from which on a group is shown as a range
_FEW = 4


def joined(names: Sequence[str], last: str = "and") -> str:
    """Join names in a sentence.

    >>> joined(["a"]), joined(["a", "b", "c"]), joined(list("abcdef"))
    ('a', 'a, b and c', 'a, b, c and 3 more')
    """
    if len(names) > _FEW:
        names = [*names[: _FEW - 1], f"{len(names) - _FEW + 1} more"]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def names(match: Match) -> list[str]:
    """Return the names of the rules that draw the same weights."""
    return [rule.name for rule in match.rules]


def headline(found: Identification) -> str:
    """Say in one line what drew the weights."""
    best = found.nearest
    share = f"{best.fitting} of {best.groups} groups"
    if best.fits:
        return f"fits: {joined(names(best), 'or')} ({share})"
    if found.rescaled is not None:
        factor = number(found.rescaled.factor)
        return f"none fits; nearest is {names(best)[0]}, with every std ×{factor}"
    if best.fitting == 0:
        return f"none fits, and no rule any group; the nearest std has {names(best)[0]}"
    return f"none fits; nearest is {names(best)[0]} ({share})"


def spread(values: Sequence[float]) -> str:
    """Write the stds of a group, from the first layer to the last where they differ."""
    finite = [value for value in values if 0 < value < math.inf]
    if len(finite) == len(values) and max(finite) > VARIES * min(finite):
        return f"{number(values[0])} → {number(values[-1])}"
    return number(math.sqrt(sum(value**2 for value in values) / len(values)))


def measured(members: Sequence[Member]) -> str:
    """Describe what was measured: ``normal 0.0200``, ``zero``, ``constant 1``."""
    text = describe([member.sample for member in members])
    if all(member.sample.constant for member in members):
        return text
    return f"{text} {spread([member.sample.std for member in members])}"


def says(draws: Sequence[Draw]) -> str:
    """Describe what a rule prescribes, in the words of :func:`measured`."""
    kinds = {_kind(draw) for draw in draws}
    kind = kinds.pop() if len(kinds) == 1 else "several"
    return (
        kind if all(draw.std == 0 for draw in draws) else f"{kind} {spread([d.std for d in draws])}"
    )


def _kind(draw: Draw) -> str:
    if draw.std == 0:
        return "zero" if draw.mean == 0 else f"constant {draw.mean:.3g}"
    if draw.kind == "truncated_normal":
        return f"truncated ±{draw.cut:.1f} σ"
    return draw.kind


def where(miss: Miss) -> str:
    """Name a group, and the layers at fault where they are not all."""
    if len(miss.members) == len(miss.group.members):
        return miss.group.label
    layers = [str(member.named.site.layer) for member in miss.members]
    return f"{miss.group.label} of layer{'s' * (len(layers) > 1)} {joined(layers)}"


def ratio(miss: Miss) -> float | None:
    """Return the measured std over the rule's; None where one is no positive number."""
    value = pooled_std(miss.members)
    if not 0 < value < math.inf or miss.expected == 0:
        return None
    return value / miss.expected


def sentence(found: Identification, match: Match, miss: Miss) -> str:
    """Say what does not fit, by how much, the likely mistake, and which rules would fit."""
    text = f"{where(miss)}: {measured(miss.members)}, {names(match)[0]} says {says(miss.draws)}"
    factor = ratio(miss)
    if factor is not None and not math.isclose(factor, 1, rel_tol=0.005):
        text += f" (×{number(factor)})"
    fault = found.fault(match, miss)
    if fault:
        text += f": {fault}"
    others = found.fitting(miss.group)
    return f"{text}; matches {joined(others)}" if others else text


def brief(match: Match) -> str:
    """Sum up a match: what fits, and each misfit in a few words."""
    misses = [_short(miss) for miss in match.misses]
    return f"{match.fitting} of {match.groups} groups; not {joined(misses)}"


def _short(miss: Miss) -> str:
    """Name a misfit: ``attn_out 0.00408 (it says 0.0200)``, with the shapes where those differ."""
    ours, theirs = measured(miss.members), says(miss.draws)
    shape, _, size = ours.partition(" ")
    if theirs.startswith(f"{shape} ") and size:
        ours, theirs = size, theirs.removeprefix(f"{shape} ")
    return f"{where(miss)} {ours} (it says {theirs})"


# --- what the weights do not show ---


def notes(found: Identification) -> Iterator[tuple[str, str]]:
    """Say what the result depends on, each with a label."""
    best = found.nearest
    if len(best.rules) > 1:
        yield "alike", f"{joined(names(best))} draw the same weights in a model of this shape"
    for match in found.matches[1:]:
        if match.fits:
            near = (
                f"its likelihood is e^{best.log_likelihood - match.log_likelihood:.0f} times less"
            )
            yield "fits too", f"{joined(names(match))} also fits: {near}"
    unseen = [rule.name for rule in best.rules if multiplies(found, rule)]
    if unseen:
        yield "unseen", f"{joined(unseen)} multiplies in the forward pass, which no weight shows"
    if not best.fits and (trained := _trained(found)):
        yield "trained?", trained
    if found.heads_matter and (not best.fits or set(found.fits) & set(found.heads_matter)):
        yield (
            "heads",
            (
                f"{found.layout.shape.n_head} is a guess of 64 wide heads, on which "
                f"{joined(found.heads_matter)} depends; --n-head says it"
            ),
        )
    yield from (("taken", remark) for remark in found.remarks)
    if found.layout.missing:
        missing = joined([str(layer) for layer in found.layout.missing])
        yield "missing", f"blocks {missing} are not there; the depth is the last one's number"
    if found.layout.unmapped:
        yield "unread", f"{joined(found.layout.unmapped)}: no role is known for the name"


def multiplies(found: Identification, rule: Rule) -> bool:
    """Whether a rule has factors in the forward pass on a model of this size."""
    shape = found.layout.shape
    sites = [
        shape.site("", "", (shape.n_embd, shape.n_embd), layer) for layer in range(shape.n_layer)
    ]
    return any(rule.multipliers(site) != Multipliers() for site in sites)


def _trained(found: Identification) -> str:
    """Name what no rule would leave in weights."""
    gains = [g for g in found.groups if g.members[0].named.site.role == "norm_gain"]
    varied = [group for group in gains if group.std > 0]
    if varied:
        shown = joined([f"{group.label} {number(group.std)}" for group in varied])
        return f"norm gains vary (std {shown}), which every rule sets to one number"
    odd = [group.label for group in found.groups if group.distribution == "heavy-tailed"]
    return f"{joined(odd)}: tails heavier than any rule draws" if odd else ""


def facts(found: Identification) -> list[str]:
    """Say in a few words each what the names and shapes tell of the model."""
    shape = found.layout.shape
    guess = " (a guess)" if shape.heads_from == "width" else ""
    return [
        f"{shape.n_layer} layer{'s' * (shape.n_layer > 1)}", f"width {shape.n_embd}",
        f"{shape.n_head} head{'s' * (shape.n_head > 1)}{guess}", f"d_ff {shape.d_ff}",
        f"vocabulary {shape.vocab_size}",
        *(["gated MLP"] if shape.gated else []),
        *(["learned positions"] if shape.learned_positions else []),
        "tied head" if found.tied else "untied head", "biases" if shape.bias else "no biases",
        _saved_as(found.groups),
    ]  # fmt: skip


def _saved_as(groups: Sequence[Group]) -> str:
    rounding = max(member.sample.rounding for group in groups for member in group.members)
    known = {2.0**-8: "bfloat16", 2.0**-11: "float16", 2.0**-24: "float32", 2.0**-53: "float64"}
    return known.get(rounding, "8 bit or less")


def rescaled(match: Match) -> str:
    """Say with which factor a rule would fit."""
    factor = number(match.factor)
    return f"{names(match)[0]} fits all {match.groups} groups with every std ×{factor}"
