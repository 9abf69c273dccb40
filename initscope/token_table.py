"""Tables with a row a token, drawn a slice of the vocabulary at a time, as often as they are read.

GPT-2's has as many entries as five of its blocks. It is read three times: for the rows of the
tokens that occur, for the logits, and for their gradient. What it would take whole is worth more
as room for what spares products (:mod:`initscope.recall`) than drawing it twice more costs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from initscope.draws import Drawer, Filling, chunk_size, divisible, reduced
from initscope.plan import Painter, rows_at_once
from initscope.readout import Key
from initscope.recorder import Recorder
from initscope.sites import Parameter
from initscope.vocabulary import Rows


class TokenTable:
    """The token embedding, or a head that is not tied to it: (V, C).

    Args:
        painter: how it is drawn, where, and from which numbers.
        parameter: which of the two it is.
    """

    def __init__(self, painter: Painter, parameter: Parameter) -> None:
        self._ids, self._width = parameter.shape
        self.entries = self._ids * self._width
        self._parameter, self._allocation = parameter, painter.plan.allocation
        self._draw = painter.plan.rule.draw(parameter.site)
        # Not the painter's own, whose crew would wait for itself where one of its jobs draws.
        self._drawer = Drawer(painter.drawer.seed)
        self._chunk = chunk_size(self._allocation.device)
        self._height = rows_at_once(parameter, self._draw, self._allocation.device)
        whole = self._height == self._ids
        self._whole = self._drawn(0, self._ids, self._memory(self._ids)) if whole else None

    def shares(self, count: int) -> list[range]:
        """Cut the ids into at most ``count`` ranges of about the same length."""
        unit = 1 if self._whole is not None else self._height
        share = -(-self._ids // (count * unit)) * unit
        firsts = range(0, self._ids, share)
        return [range(first, min(first + share, self._ids)) for first in firsts]

    def slices(self, ids: range) -> Iterator[Rows]:
        """Yield the rows of one of the :meth:`shares`; each slice is drawn over the one before."""
        if self._whole is not None:
            yield Rows(ids.start, self._whole[ids.start : ids.stop])
            return
        memory = self._memory(self._height)
        for first in range(ids.start, ids.stop, self._height):
            yield Rows(first, self._drawn(first, min(first + self._height, ids.stop), memory))

    def audited(self, ids: range, to: Recorder) -> Iterator[Rows]:
        """Yield the same, and have the moments of the rows recorded."""
        key = Key(self._parameter.site.layer, self._parameter.label, "weight", "weight")
        for rows in self.slices(ids):
            for count, raw in reduced(rows.values, self._draw) if to.listens else ():
                to.add(key, raw, count)
            yield rows

    def _memory(self, rows: int) -> Tensor:
        """Allocate what the chunks take that so many rows may lie in."""
        entries = min(self.entries, rows * self._width + 2 * self._chunk)
        return torch.empty(entries, dtype=self._allocation.dtype, device=self._allocation.device)

    def _drawn(self, first: int, end: int, memory: Tensor) -> Tensor:
        """Draw the chunks in which rows lie into ``memory``; return the rows."""
        width, site = self._width, self._parameter.site
        chunk = first * width // self._chunk
        begin, stop = chunk * self._chunk, -(-end * width // self._chunk) * self._chunk
        flat = memory[: min(stop, self.entries) - begin]
        drawn = flat if divisible(self._draw) else flat.view(self._parameter.shape)
        self._drawer.fill([Filling(drawn, self._draw, site.layer, self._parameter.path, chunk)])
        return flat[first * width - begin : end * width - begin].view(-1, width)

    def let_go(self) -> None:
        """Free what may be held whole; it would be drawn anew."""
        self._whole = None
