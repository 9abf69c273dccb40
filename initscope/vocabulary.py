"""Parts of a vocabulary: slices of a table with a row a token, and the tokens that occur."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from torch import Tensor, device


class Seen:
    """The token ids that occur in an input.

    Args:
        ids: any shape, on the host.
        where: the device that the tables are on.
    """

    def __init__(self, ids: Tensor, where: device) -> None:
        distinct, place = ids.unique(return_inverse=True)
        self._ids: list[int] = distinct.tolist()  # before the ids leave the host: no sync
        self._there = distinct.to(where)
        self.place = place.to(where)  # of each id among the distinct ones

    def __len__(self) -> int:
        """Count the distinct ids."""
        return len(self._ids)

    def within(self, first: int, count: int) -> tuple[slice, Tensor]:
        """Say which of them lie in a slice of the vocabulary, and in which of its rows."""
        found = slice(bisect_left(self._ids, first), bisect_left(self._ids, first + count))
        return found, self._there[found] - first


class Rows(NamedTuple):
    """A slice of a table: the id of its first row, and the rows (n, C)."""

    first: int
    values: Tensor
