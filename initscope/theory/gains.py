"""What theory needs of a rule: the second moments of its draws, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.rules.core import Draw, Multipliers, Rule, Site
from initscope.sites import Parameter, block_parameters, model_site

Array = npt.NDArray[np.floating[Any]]

_FACTORS = tuple(Multipliers.__dataclass_fields__)


class Map(NamedTuple):
    """A linear map or a norm as a kernel sees it: K -> scale · K + shift, for every pair.

    ``scale`` is fan_in times the weight's variance (or the second moment of a norm's gain),
    ``shift`` the bias's second moment: one vector, which all tokens share.
    """

    scale: float
    shift: float


class Layer(NamedTuple):
    """One block, or the mean of several alike: its maps by role and its multipliers."""

    maps: dict[str, Map]
    factors: Multipliers


class Gains:
    """Every block's maps and multipliers, and the draws that they come from.

    ``stds`` has a column (n_layer,) for each of the block's parameters, by label.

    Raises:
        UsageError: for a draw that theory does not cover.
    """

    def __init__(self, config: GPTConfig, rule: Rule) -> None:
        self.config = config
        self.parameters = block_parameters(config, 0)
        draws = _Draws(config, rule)
        self.stds, self.means = draws.stds, draws.means
        self._columns = list(self._moments())
        names = [name for name, _ in self._columns]
        table = np.stack([column for _, column in self._columns], axis=1)
        self._names = [*names, *_FACTORS]
        self._table = np.hstack([table, draws.factors])
        self._totals = np.vstack([np.zeros(self._table.shape[1]), np.cumsum(self._table, axis=0)])

    def _moments(self) -> Sequence[tuple[str, Array]]:
        columns = []
        for parameter in self.parameters:
            label, site = parameter.label, parameter.site
            if site.role not in {"norm_gain", "norm_bias", "bias"} or label.endswith(".bias"):
                _require_centred(label, self.means[label])
            scale = 1.0 if len(parameter.shape) == 1 else float(site.fan_in)
            square = self.stds[label] ** 2 + self.means[label] ** 2
            columns.append((label, scale * square))
        return columns

    def alike(self, start: int, stop: int) -> bool:
        """Whether the blocks from start to stop (exclusive) differ little enough to be averaged."""
        rows = self._table[[start, stop - 1]]
        middle = self._table[start:stop]
        low, high = middle.min(axis=0), middle.max(axis=0)
        return bool((high - low <= 0.2 * np.abs(rows).max(axis=0)).all())

    def layer(self, start: int, stop: int) -> Layer:
        """Return a block, the mean of those from start to stop (exclusive)."""
        mean = ((self._totals[stop] - self._totals[start]) / (stop - start)).tolist()
        if stop == start + 1:
            mean = self._table[start].tolist()
        values = dict(zip(self._names, mean, strict=True))
        factors = Multipliers(**{name: values.pop(name) for name in _FACTORS})
        maps = {
            label: Map(value, values.get(f"{label}.bias", 0.0))
            for label, value in values.items()
            if not label.endswith(".bias")
        }
        return Layer(maps, factors)


class _Draws:
    """Evaluates a rule at every layer, or once where it does not ask for the layer."""

    def __init__(self, config: GPTConfig, rule: Rule) -> None:
        self.n_layer = config.n_layer
        self.stds: dict[str, Array] = {}
        self.means: dict[str, Array] = {}
        for parameter in block_parameters(config, 0):
            moments = self._column(lambda site: _moments(rule.draw(site)), parameter.site)
            self.stds[parameter.label], self.means[parameter.label] = moments
        self.factors = self._column(
            lambda site: [getattr(rule.multipliers(site), name) for name in _FACTORS],
            model_site(config, 0),
        ).T

    def _column(self, value: Callable[[Site], Sequence[float]], site: Site) -> Array:
        """Return numbers of a site over the layers (numbers, n_layer)."""
        watched = _Watched(**_fields(site))
        first = value(watched)
        if not watched.asked:
            return np.repeat(np.array(first, float)[:, None], self.n_layer, axis=1)
        return np.array([value(at(site, layer)) for layer in range(self.n_layer)]).T


class _Watched(Site):
    """A site that remembers whether anyone asked for its layer: rules are pure functions."""

    asked = False

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - any attribute
        """Note what is read."""
        if name == "layer":
            object.__setattr__(self, "asked", True)
        return super().__getattribute__(name)


def _moments(draw: Draw) -> tuple[float, float]:
    return draw.std, draw.mean


def _fields(site: Site) -> dict[str, Any]:
    return {name: getattr(site, name) for name in Site.__dataclass_fields__}


def at(site: Site, layer: int) -> Site:
    """Return the same place in another layer."""
    return Site(**{**_fields(site), "layer": layer})


def _require_centred(label: str, means: Array) -> None:
    if means.any():
        raise UsageError(
            f"theory does not cover a rule that sets {label} to a constant other than 0"
        )


def variance(parameters: Sequence[Parameter], rule: Rule, role: str) -> float:
    """Return the variance of an entry outside the blocks; 0 where there is no such parameter.

    Raises:
        UsageError: for a draw that theory does not cover.
    """
    for parameter in parameters:
        if parameter.site.role == role:
            draw = rule.draw(parameter.site)
            _require_centred(parameter.label, np.array([draw.mean]))
            return draw.std**2
    return 0.0
