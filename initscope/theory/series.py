"""Collecting statistics at the layers that were worked out, and filling in those between."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.profile import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.floating[Any]]


class Key(NamedTuple):
    """What a series is of."""

    site: str
    direction: str
    statistic: str


class Series:
    """Statistics over the layers of one depth; of all sites, or of some."""

    def __init__(self, n_layer: int, only: frozenset[str] = frozenset()) -> None:
        self.n_layer, self._only = n_layer, only
        self._places: dict[Key, list[float]] = defaultdict(list)
        self._values: dict[Key, list[float]] = defaultdict(list)
        self._whole: dict[Key, Array] = {}

    def add(self, place: float, site: str, direction: str, **values: float) -> None:
        """Add statistics of a site at a layer; between two whole ones for a stride's middle."""
        if not self.wants(site):
            return
        for name, value in values.items():
            key = Key(site, direction, name)
            self._places[key].append(place)
            self._values[key].append(value)

    def wants(self, site: str) -> bool:
        """Whether a site is recorded."""
        return not self._only or site in self._only

    def whole(self, site: str, direction: str, **columns: Array) -> None:
        """Add statistics that are known at every layer (n_layer,)."""
        for name, column in columns.items():
            self._whole[Key(site, direction, name)] = column

    def sum(self, site: str, direction: str, statistic: str) -> float:
        """Add up a series over the layers; 0 where there is none."""
        key = Key(site, direction, statistic)
        return float(self._at_layers(key, self.n_layer - 1)[1].sum()) if key in self._places else 0

    def _at_layers(self, key: Key, last: int) -> tuple[npt.NDArray[np.int64], Array]:
        """Return a series at whole layers, up to the last block worked out."""
        place, order = np.unique(self._places[key], return_index=True)
        value = np.array(self._values[key])[order]
        if not 0 <= place[0] < self.n_layer:
            return place.astype(np.int64), value
        layers = np.arange(last + 1)
        return layers, _between(layers, place, value)

    def table(self, rule: str, last: int) -> pd.DataFrame:
        """Build the long table; ``last`` is the last block that theory covers."""
        import pandas as pd

        layers = np.arange(self.n_layer)
        found = {key: (layers, column) for key, column in self._whole.items()}
        found |= {key: self._at_layers(key, last) for key in self._places}
        # A few texts a million times over: pandas takes them by their place far faster.
        keys = pd.DataFrame(list(found)).assign(rule=rule)
        lengths = [len(place) for place, _ in found.values()]
        table = keys.take(np.repeat(np.arange(len(found)), lengths)).reset_index(drop=True)
        table["n_layer"], table["seed"] = self.n_layer, 0
        table["layer"] = np.concatenate([place for place, _ in found.values()])
        table["value"] = np.concatenate([value for _, value in found.values()])
        return table[list(COLUMNS)]


def _between(layers: npt.NDArray[np.int64], place: Array, value: Array) -> Array:
    """Interpolate, a positive series in its logarithm."""
    if len(place) == len(layers):
        return value
    if (value > 0).all():
        return np.exp(np.interp(layers, place, np.log(value)))
    return np.interp(layers, place, value)
