"""Where a model that was built on the meta device differs from the one that was built at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initscope.notation import number
from initscope.origin import words
from initscope.origin.sample import Sample
from initscope.provenance.result import Audit, Fault, Held

# Standard errors of a difference: two draws of one distribution pass 6 once in a billion.
ERRORS = 6.0


def meta_faults(audit: Audit) -> Iterator[Fault]:
    """Find what the meta path leaves unwritten, draws otherwise, or no longer ties."""
    if audit.meta is None or audit.meta.error:
        return
    ours = {path: one for one in audit.held for path in one.paths}
    for buffer, word in ((False, "parameter"), (True, "buffer")):
        held = [one for one in audit.meta.held if one.buffer is buffer]
        left = [one for one in held if one.written < 1 - 1e-6]
        if left:
            text = (
                f"never written after to_empty, so that memory is uninitialised: {word} "
                f"{words.joined([one.path for one in left])} ({audit.meta.how} does not reach it)"
            )
            yield Fault("meta-unwritten", text, tuple(one.path for one in left))
        pairs = [(ours[one.path], one) for one in held if one not in left and one.path in ours]
        yield from _differences([pair for pair in pairs if _differ(*pair)])
    yield from _untied(audit)


def _differ(ours: Held, theirs: Held) -> bool:
    a, b = ours.sample, theirs.sample
    return a is not None and b is not None and not same(a, b)


def _differences(pairs: Sequence[tuple[Held, Held]]) -> Iterator[Fault]:
    """Say once of each label, with its first tensor, what differs."""
    for label in dict.fromkeys(ours.label for ours, _ in pairs):
        found = [pair for pair in pairs if pair[0].label == label]
        first, other = found[0][0].sample, found[0][1].sample
        assert first is not None
        assert other is not None
        text = (
            f"{label} is {_says(first)} when built at once, {_says(other)} by the meta path: "
            f"{words.joined([theirs.path for _, theirs in found])}"
        )
        yield Fault("meta-differs", text, tuple(theirs.path for _, theirs in found))


def _says(sample: Sample) -> str:
    if sample.constant:
        return f"constant {number(sample.mean)}"
    return f"of mean {number(sample.mean)} and std {number(sample.std)}"


def same(a: Sample, b: Sample) -> bool:
    """Whether two samples can be of one distribution, by their means and spreads.

    The entries are taken for those of a normal; a uniform's vary less, and a heavier tail than
    a normal's has no initialisation.
    """
    if not (a.finite and b.finite) or a.constant or b.constant:
        return a.constant and b.constant and math.isclose(a.mean, b.mean, rel_tol=1e-6)
    error = math.sqrt(1 / a.count + 1 / b.count)
    spread = abs(math.log(a.std / b.std)) < ERRORS * error / math.sqrt(2)
    return spread and abs(a.mean - b.mean) < ERRORS * error * max(a.std, b.std)


def _untied(audit: Audit) -> Iterator[Fault]:
    assert audit.meta is not None
    theirs = {path: place for place, one in enumerate(audit.meta.held) for path in one.paths}
    for one in audit.held:
        places = {theirs[path] for path in one.paths if path in theirs}
        if len(places) > 1:
            text = (
                f"{' and '.join(one.paths)} are one tensor when built at once, and "
                f"{len(places)} by the meta path: to_empty unties them"
            )
            yield Fault("meta-untied", text, one.paths)
