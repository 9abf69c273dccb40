"""How far single readings may lie from what is expected of them, and which lie beyond.

A mean square over many entries scatters as a chi-square of some degrees of freedom over their
number; the Wilson-Hilferty cube root makes a normal of it. The level is that of the whole
profile: it is divided by the number of readings (Bonferroni), as of hundreds of sites a 95 %
band would accuse a score in any sound model.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple

from initscope.config import GPTConfig

LEVEL = 1e-3  # chance that anything at all is named in a sound profile
# E φ⁴ / (E φ²)² - 1 at most, of a unit that a normal enters: its gate's too.
_ROUGH = {"relu": 5.0, "relu2": 22.0, "swiglu": 18.0, "geglu": 18.0}
_ROUGH_OTHER = 6.0


class Held(NamedTuple):
    """A reading over what is expected of it, the mean of several seeds.

    ``freedom`` is the degrees of freedom of one layer's ratio, infinite where it does not
    scatter; ``slack`` how far, relative, the expectation may itself be off.
    """

    layer: int
    site: str
    ratio: float
    freedom: float
    slack: float


class Misfit(NamedTuple):
    """One site that does not do what is expected of it, in one or several layers."""

    site: str
    layers: tuple[int, ...]
    ratio: float


def freedom(config: GPTConfig, site: str) -> float:
    """Return the degrees of freedom that a site's mean square has at least, given its input.

    All tokens may share a direction, so only features count: those of a linear map's output; twice
    as many at a sum, whose mixed term is all that scatters; fewer where entries are heavy-tailed.
    """
    d, kv, ff = config.n_embd, config.kv_width, config.d_ff
    known = {
        "embed": d, "q": d, "k": kv, "v": kv, "attn": kv / 4, "attn_out": d, "mlp_up": ff,
        "mlp_gate": ff, "mlp_act": 2 * ff / _ROUGH.get(config.activation, _ROUGH_OTHER),
        "mlp_down": d, "logits": config.vocab_size,
    }  # fmt: skip
    if site in {"resid_mid", "resid_post"}:
        return math.inf if config.norm == "post" else 2 * d
    return known.get(site, math.inf)


def misfits(held: Sequence[Held], tests: int) -> list[Misfit]:
    """Return what lies beyond the band, site by site; ``tests`` is how many readings there are."""
    reach = NormalDist().inv_cdf(1 - LEVEL / (2 * max(tests, 1)))
    by_site: dict[str, list[Held]] = defaultdict(list)
    for one in held:
        by_site[one.site].append(one)
    found = [_misfit(layers, reach) for layers in by_site.values()]
    return [one for one in found if one is not None]


def _misfit(held: list[Held], reach: float) -> Misfit | None:
    """Judge one site: its layers one by one, and then what is left of them together."""
    off: list[Held] = []
    rest: list[Held] = []
    for one in held:
        (off if beyond(one, reach) else rest).append(one)
    if len(rest) > 1 and rest[0].site != "attn" and beyond(_together(rest), reach):
        off = held  # each but a little: attention's ratios share the tokens' cosines, and are out
    if not off:
        return None
    return Misfit(off[0].site, tuple(one.layer for one in off), _together(off).ratio)


def _together(held: Iterable[Held]) -> Held:
    every = list(held)
    ratio = sum(one.ratio for one in every) / len(every)
    freedom = sum(one.freedom for one in every)
    return every[0]._replace(ratio=ratio, freedom=freedom)


def beyond(one: Held, reach: float) -> bool:
    """Whether a ratio lies outside its band of so many standard deviations."""
    if not math.isfinite(one.ratio):
        return True
    low, high = _limits(one.freedom, reach)
    return not low * (1 - one.slack) <= one.ratio <= high * (1 + one.slack)


def _limits(freedom: float, reach: float) -> tuple[float, float]:
    """Return chi-square quantiles over their degrees of freedom (Wilson & Hilferty 1931)."""
    variance = 2 / (9 * freedom)
    low, high = (1 - variance + sign * reach * math.sqrt(variance) for sign in (-1, 1))
    return max(low, 0.0) ** 3, high**3
