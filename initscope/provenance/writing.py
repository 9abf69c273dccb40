"""Mistakes in what was written: nothing, PyTorch's defaults, too often, in the wrong order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from initscope.origin import words
from initscope.provenance.result import Fault, Held, Write


def listed(held: Sequence[Held]) -> str:
    """Name a few tensors of many."""
    return words.joined([one.path for one in held])


def paths_of(held: Iterable[Held]) -> tuple[str, ...]:
    """Return the first path of each tensor."""
    return tuple(one.path for one in held)


def unwritten(held: Iterable[Held]) -> Iterator[Fault]:
    """Find tensors that hold whatever the memory held before."""
    for buffer, word in ((False, "parameter"), (True, "buffer")):
        found = [one for one in held if one.written < 1 - 1e-6 and one.buffer is buffer]
        if found:
            text = f"never written, so that memory is uninitialised: {word} {listed(found)}"
            yield Fault("never-written", text, paths_of(found))


def defaults(held: Sequence[Held]) -> Iterator[Fault]:
    """Find weights that still hold what PyTorch's modules drew for themselves."""
    weights = [one for one in held if one.matrix]
    left = [one for one in weights if one.default]
    if not left:
        return
    if len(left) == len(weights):
        text = (
            f"no initialisation of the model's own reached its weights: all {len(left)} hold "
            f"PyTorch's defaults ({_methods(left)})"
        )
    else:
        text = (
            f"{len(left)} of {len(weights)} weights still hold PyTorch's default "
            f"({_methods(left)}): {listed(left)}"
        )
    yield Fault("torch-default", text, paths_of(left))


def _methods(held: Iterable[Held]) -> str:
    return words.joined(list(dict.fromkeys(one.default for one in held)))


def place(write: Write) -> str:
    """Say where a write was: ``GPT._init_weights (model.py:80)``."""
    return f"{write.by} ({write.where})" if write.where else write.by


def written_again(held: Iterable[Held]) -> Iterator[Fault]:
    """Find tensors that one line wrote more often than there are paths to them."""
    found: dict[tuple[int, str], list[Held]] = defaultdict(list)
    for one in held:
        drawn = [w for w in one.writes or () if w.kind == "draw" and w.share > 1 / 2]
        counts = Counter(write.place for write in drawn)
        if drawn and max(counts.values()) > len(one.paths):
            most = next(w for w in reversed(drawn) if counts[w.place] == max(counts.values()))
            found[counts[most.place], place(most)].append(one)
    for (times, where), again in found.items():
        text = (
            f"the initialisation ran {times} times: {len(again)} "
            f"{'tensor was' if len(again) == 1 else 'tensors were'} written {times} times by "
            f"{where}: {listed(again)}"
        )
        yield Fault("written-again", text, paths_of(again))


def overwritten(held: Sequence[Held]) -> Iterator[Fault]:
    """Find draws that were chosen for a few weights and overwritten by one for many.

    A draw for all and then another for a few is how initialisations are written; the reverse
    order loses the choice.
    """
    reach: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in held:
        for write in one.writes or ():
            if write.chosen:
                reach[write.place].add(one.path)
    lost: dict[tuple[Write, Write], list[Held]] = defaultdict(list)
    for one in held:
        drawn = [write for write in one.writes or () if write.chosen]
        wider = [w for w in drawn[:-1] if reach[w.place] < reach[drawn[-1].place]]
        if wider:
            lost[wider[-1], drawn[-1]].append(one)
    for (first, last), found in lost.items():
        text = (
            f"what {place(first)} drew was overwritten by {place(last)}, which draws "
            f"{len(reach[last.place])} tensors alike: {listed(found)}"
        )
        yield Fault("overwritten", text, paths_of(found))
