"""The mistakes in how a model's numbers were written, each in a sentence that names them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

from initscope.bounds import Bounds
from initscope.notation import number
from initscope.origin import words
from initscope.origin.faults import name_fault
from initscope.origin.matching import Miss
from initscope.provenance.meta import meta_faults
from initscope.provenance.result import Audit, Fault, Held, Note
from initscope.provenance.scaling import (
    fan_in_faults,
    multiplier_faults,
    scales,
    scaling_faults,
    width_faults,
)
from initscope.provenance.writing import (
    defaults,
    listed,
    overwritten,
    paths_of,
    place,
    unwritten,
    written_again,
)
from initscope.rules.core import RESIDUAL

NEVER_ACTS = 8.0  # standard deviations: P(|N(0, 1)| > 8) is 1e-15, so that no weight is ever cut
FAR_OUT = 10.0  # standard deviations that no weight of a billion reaches
BY_FANS = ("xavier", "kaiming")


def faults(audit: Audit) -> list[Fault]:
    """List every mistake, the gravest kind first.

    What a rule of the catalogue has by design is no mistake: see :func:`notes`.
    """
    found = [
        *unwritten(audit.held), *defaults(audit.held), *overwritten(audit.held),
        *written_again(audit.held), *truncations(audit.held), *outliers(audit.held),
        *experts(audit.held),
    ]  # fmt: skip
    structural = list(_structural(audit)) if audit.rule is None else []
    meta = list(meta_faults(audit))
    if audit.meta is not None:
        meta += [f._replace(text=f"on the meta path {f.text}")
                 for f in written_again(audit.meta.held)]  # fmt: skip
    structural += [*multiplier_faults(audit), *width_faults(audit)]
    return [*found, *structural, *_against_rule(audit), *_loud(audit), *meta]


def notes(audit: Audit) -> list[Note]:
    """List what is worth knowing and no mistake."""
    found = []
    if audit.rule is not None:
        design = [Note("by design", fault.text) for fault in _structural(audit)]
        found = [Note("rule", f"fits {words.joined(words.names(audit.rule), 'or')}"), *design]
    elif audit.matches:
        best = audit.matches[0]
        share = f"{best.fitting} of {best.groups} groups"
        found = [
            Note("rule", f"fits none of the catalogue; nearest {words.names(best)[0]}, {share}")
        ]
    found.append(Note("stream", stream(audit)))
    biases = [one for one in audit.held if _random_bias(one)]
    if biases:
        found.append(
            Note("biases", f"{len(biases)} hold PyTorch's default, random: {listed(biases)}")
        )
    if audit.meta is None:
        found.append(Note("meta", "not tried: the model has no init_weights of its own (--meta)"))
    elif audit.meta.error:
        found.append(Note("meta", f"cannot be built there: {audit.meta.error}"))
    else:
        found.append(Note("meta", f"built on the meta device, to_empty, {audit.meta.how}"))
    return found


def stream(audit: Audit) -> str:
    """Say which weights write to the residual stream, and which of them follow the depth."""
    writers = [label for label in sorted(RESIDUAL) if audit.labelled(label)]
    said = f"written to by {words.joined(writers) or 'no weight that was found'}"
    if audit.shallower is None:
        return f"{said}; the depth is fixed, so that its scaling was not looked for"
    scaled = [label for label in writers if scales(audit, label)]
    return f"{said}; depth-scaled: {words.joined(scaled) or 'none'}"


def _random_bias(one: Held) -> bool:
    vector = not one.buffer and len(one.shape) == 1 and bool(one.default)
    return vector and one.sample is not None and not one.sample.constant


def _structural(audit: Audit) -> Iterator[Fault]:
    yield from scaling_faults(audit)
    yield from fan_in_faults(audit)


# --- with which numbers ---


def truncations(held: Iterable[Held]) -> Iterator[Fault]:
    """Find truncations so far out that they never act: bounds that were not given in σ."""
    found: dict[tuple[str, float], list[Held]] = defaultdict(list)
    for one in held:
        drawn = one.drawn_by
        if drawn is not None and NEVER_ACTS < drawn.cut < math.inf:
            found[place(drawn), round(drawn.cut, 6)].append(one)
    for (where, cut), cases in found.items():
        text = (
            f"the truncation never acts: {where} cuts at ±{number(cut)} σ "
            f"(trunc_normal_ takes its bounds in absolute units): {listed(cases)}"
        )
        yield Fault("never-cuts", text, paths_of(cases))


def outliers(held: Iterable[Held]) -> Iterator[Fault]:
    """Find single entries that no draw of that spread makes."""
    for one in held:
        sample = one.sample
        if one.matrix and sample is not None and 0 < sample.std < math.inf:
            size = max(abs(sample.low - sample.mean), abs(sample.high - sample.mean)) / sample.std
            if size > FAR_OUT:
                text = (
                    f"{one.path} has an entry of {number(sample.max_abs)}, {number(size)} σ out: "
                    "its std is not that of the rest"
                )
                yield Fault("outliers", text, (one.path,))


def experts(held: Iterable[Held]) -> Iterator[Fault]:
    """Find stacks of matrices that torch.nn.init took for a convolution, and their fans with it."""
    for one in held:
        drawn = one.drawn_by
        fans = drawn is not None and drawn.how.startswith(BY_FANS) and drawn.dims > 2
        if drawn is not None and fans and not one.convolution:
            text = (
                f"{one.path} {one.shape} is a stack of matrices, one an expert, and {drawn.how} "
                f"in {place(drawn)} took its fan_in for {math.prod(one.shape[1:])}, as a "
                "convolution's: draw each expert's matrix by its own"
            )
            yield Fault("expert-fan-in", text, (one.path,))


def _loud(audit: Audit) -> Iterator[Fault]:
    if audit.loss_excess > Bounds().loss_excess:
        heads = [h for h in audit.held if h.label in {"head", "wte"} and h.sample is not None]
        head = next((h for h in heads if h.label == "head"), heads[0] if heads else None)
        std = f" (its std is {number(head.sample.std)})" if head and head.sample else ""
        text = (
            f"the head is too loud: logits of std {number(audit.logit_std)} put the initial loss "
            f"{number(audit.loss_excess)} nats above ln(vocab); after a norm it wants a std of at "
            f"most 1/sqrt(width) = {number(audit.width**-0.5)}{std}"
        )
        yield Fault("loud-head", text, (head.path,) if head is not None else ())


def _against_rule(audit: Audit) -> Iterator[Fault]:
    if audit.asked is None:
        return
    name = words.names(audit.asked)[0]
    for miss in audit.asked.misses:
        mistake = name_fault(audit.judge, audit.asked.rules[0], miss)
        text = f"{_says(miss, name)}{f': {mistake}' if mistake else ''}"
        paths = tuple(member.named.name for member in miss.members)
        yield Fault("not-the-rule", text, paths)


def _says(miss: Miss, name: str) -> str:
    wrong, of = len(miss.members), len(miss.group.members)
    return (
        f"{wrong} of {of} {miss.group.label} are {words.measured(miss.members)}, "
        f"{name} says {words.says(miss.draws)}"
    )
