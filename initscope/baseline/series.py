"""What a baseline keeps of a profile: some statistics over the layers, as means over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from initscope.profile import Profile
from initscope.sites import all_parameters

LAYERS = 16  # kept of a series, so that a file stays small enough to be reviewed

Array = npt.NDArray[np.float64]


class Key(NamedTuple):
    """What a series is of."""

    site: str
    direction: str
    statistic: str


# The spread of a layer's value (of its logarithm, unless it is in DIFFERENCES) between single
# seeds is at most about c / sqrt(width), whatever the rule (python -m benchmarks.spread).
SIGNAL = {
    Key("embed", "forward", "variance"): 1.0,
    Key("resid_post", "forward", "variance"): 2.0,
    Key("attn_out", "forward", "second_moment"): 3.0,
    Key("mlp_down", "forward", "second_moment"): 2.0,
    Key("resid_post", "backward", "second_moment"): 5.0,
    Key("resid_post", "forward", "token_cosine"): 1.0,
    Key("attn", "forward", "attention_entropy"): 1.0,
}

# Statistics that may be 0 or negative in a sound model, or are shares: compared by difference.
DIFFERENCES = frozenset({"token_cosine", "attention_entropy", "loss_excess"})

# The loss of one seed is off by the mean of its targets' logits: their std over the root of the
# effective number of distinct targets. That is 1 / Σp², at least 16 in text, or fewer if drawn.
LOSS = Key("loss", "forward", "loss_excess")
_DISTINCT = 16

_WEIGHT = ("weight", "second_moment")


class Means(NamedTuple):
    """Of each layer the mean over seeds and their spread (sample form; 0 for one seed).

    The mean is geometric and the spread that of the logarithm where values are compared by
    ratio; a mean is 0 where any seed's value is, and NaN where it is not finite.
    """

    layers: list[int]
    mean: Array
    spread: Array


class Series(NamedTuple):
    """A statistic over the layers.

    ``prior`` is the spread between single seeds that is expected of it; ``values`` has a row a
    layer and a column a seed.
    """

    key: Key
    prior: float
    values: pd.DataFrame

    @property
    def relative(self) -> bool:
        """Whether values are compared by their ratio, or else by their difference."""
        return self.key.statistic not in DIFFERENCES

    def means(self, layers: Sequence[int] | None = None) -> Means | None:
        """Average over seeds; None if it was not recorded at each of ``layers``.

        Unless given, these are both ends and up to :data:`LAYERS` in all, evenly spaced.
        """
        known = self.values.index.tolist()
        chosen = _spaced(known) if layers is None else list(layers)
        if not set(chosen).issubset(known):
            return None
        values = self.values.loc[chosen].to_numpy(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            return Means(chosen, *(_geometric(values) if self.relative else _arithmetic(values)))


def series_of(profile: Profile) -> dict[Key, Series]:
    """Return what was recorded at the profile's own depth, the signal before the weights."""
    recorded = _recorded(profile)
    priors = {**_signal(profile), **_weights(profile, [key.site for key in recorded])}
    return {
        key: Series(key, prior, recorded[key]) for key, prior in priors.items() if key in recorded
    }


def _recorded(profile: Profile) -> dict[Key, pd.DataFrame]:
    """Split what is kept into series, in one pass: a row a layer and a column a seed."""
    fields = list(Key._fields)
    rows = profile.table[profile.table["n_layer"] == profile.config.n_layer]
    rows = rows[[_is_kept(Key(*key)) for key in zip(*(rows[name] for name in fields), strict=True)]]
    index = [*fields, "layer", "seed"]
    wide = rows.drop_duplicates(index, keep="last").set_index(index)["value"].unstack("seed")
    groups = wide.groupby(level=fields)
    return {Key(*map(str, key)): part.droplevel([*fields]) for key, part in groups}


def _is_kept(key: Key) -> bool:
    return key in SIGNAL or key == LOSS or (key.direction, key.statistic) == _WEIGHT


def _signal(profile: Profile) -> dict[Key, float]:
    config, run = profile.config, profile.run
    # Without a norm the layers' deviations multiply: the logarithm's variance goes as depth over
    # width (Hanin & Nica 2018, Products of many large random matrices).
    more = math.sqrt(config.n_layer) if config.norm == "none" else 1.0
    priors = {key: more * c / math.sqrt(config.n_embd) for key, c in SIGNAL.items()}
    share = 1 / _DISTINCT + 1 / (run.batch * run.seq_len)
    return {**priors, LOSS: more * math.sqrt(share) * _logit_std(profile)}


def _logit_std(profile: Profile) -> float:
    """Return the logits' std, or 1, a loud head's, where it was not recorded, 0 or not finite."""
    variance = profile.select("logits", "forward", "variance").to_numpy()
    known = variance.size and np.isfinite(variance).all() and variance.any()
    return math.sqrt(variance.mean()) if known else 1.0


def _weights(profile: Profile, sites: Sequence[str]) -> dict[Key, float]:
    """List the parameters; the second moment is a matrix's variance, and sees a gain's constant.

    The variance of n normal entries has a relative standard error of sqrt(2 / n); one that the
    configuration does not know is taken to have as few entries as the model is wide.
    """
    sizes = {p.label: math.prod(p.shape) for p in all_parameters(profile.config)}
    return {
        Key(site, *_WEIGHT): math.sqrt(2 / sizes.get(site, profile.config.n_embd))
        for site in [*sizes, *sites]
    }


def _spaced(layers: Sequence[int]) -> list[int]:
    count = min(len(layers), LAYERS)
    return [layers[round(i)] for i in np.linspace(0, len(layers) - 1, count)]


def _arithmetic(values: Array) -> tuple[Array, Array]:
    mean = values.mean(axis=1)
    spread = values.std(axis=1, ddof=1) if values.shape[1] > 1 else np.zeros_like(mean)
    return np.where(np.isfinite(mean), mean, np.nan), np.where(np.isfinite(spread), spread, 0.0)


def _geometric(values: Array) -> tuple[Array, Array]:
    mean, spread = _arithmetic(np.log(values))
    return np.where((values == 0).any(axis=1), 0.0, np.exp(mean)), spread
