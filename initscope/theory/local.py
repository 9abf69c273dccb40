"""What theory expects of a site from its measured input: the law of one step, not of the way there.

A weight that is drawn wrongly changes every reading after it. Held against its own input, only
the step that is wrong deviates (docs/misfits.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.profile import Profile
from initscope.rules.core import Rule
from initscope.theory.activations import ACTIVATIONS
from initscope.theory.gains import Gains, Layer

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.floating[Any]]
Law = tuple[int, str, Array]  # (first layer, site, expected second moment over the layers)


class Laws:
    """The steps of one forward pass: each site's second moment, given that of what it reads.

    Args:
        config: the model's shape.
        blocks: the rule's maps and factors, block by block.
        said: the predicted second moments, a row a layer and a column a site.
        found: the measured ones, alike.
    """

    def __init__(
        self, config: GPTConfig, blocks: Sequence[Layer], said: pd.DataFrame, found: pd.DataFrame
    ) -> None:
        self.config, self.blocks, self.said, self.found = config, blocks, said, found
        self.layers = range(config.n_layer)

    def all(self) -> Iterator[Law]:
        """Yield every law, in no certain order."""
        yield -1, "embed", self._column(self.said, "embed", range(-1, 0))
        yield from self._block()
        for site, source in self._norms():
            yield 0, site, self._normed(site, source)
        yield from self._sums()
        yield from self._head()

    def _reads(self) -> tuple[str, str]:
        """Return what attention and MLP read."""
        first, second = "resid_pre", self._second
        if not self.config.norms_input:
            return first, second
        return "norm_1", "norm_1" if self.config.branches == "shared" else "norm_2"

    @property
    def _second(self) -> str:
        """The stream that the MLP is given."""
        return "resid_mid" if self.config.branches == "sequential" else "resid_pre"

    def _norms(self) -> Iterator[tuple[str, str]]:
        """Yield each norm and what it reads, but for post-norm's, which are the stream."""
        reads = {
            "norm_1": "resid_pre", "norm_2": self._second, "norm_attn": "attn",
            "norm_mlp": "mlp_act", "norm_1_out": "attn_out", "norm_2_out": "mlp_down",
        }  # fmt: skip
        there = self.config.block_norms if self.config.norm != "post" else frozenset()
        yield from ((site, source) for site, source in reads.items() if site in there)

    def _block(self) -> Iterator[Law]:
        (x_1, x_2), inner = self._reads(), self.config.inner_norm
        mixed, hidden = ("norm_attn", "norm_mlp") if inner else ("attn", "mlp_act")
        linear = [("q", x_1), ("k", x_1), ("v", x_1), ("attn_out", mixed), ("mlp_up", x_2),
                  ("mlp_down", hidden)]  # fmt: skip
        linear += [("mlp_gate", x_2)] if self.config.gated else []
        for site, source in linear:
            scale, shift = np.array([block.maps[site] for block in self.blocks]).T
            yield 0, site, scale * self._measured(source) + shift
        yield 0, "attn", self._through("attn", "v", self.layers)
        if self.config.norm not in {"none", "output"}:  # there tokens differ in what is activated
            yield 0, "mlp_act", self._activated()

    def _sums(self) -> Iterator[Law]:
        for site, stream, branch, normed in (
            ("resid_mid", "resid_pre", "attn_out", "norm_1_out"),
            ("resid_post", "resid_mid", "mlp_down", "norm_2_out"),
        ):
            if self.config.norm == "post":  # the sum is seen only after its norm
                yield 0, site, self._column(self.said, site, self.layers)
                continue
            skip, scale = self._factors(site).T
            added = self._measured(normed if normed in self.config.block_norms else branch)
            yield 0, site, self._measured(stream) * skip**2 + added * scale**2

    def _head(self) -> Iterator[Law]:
        last, here = range(self.config.n_layer - 1, self.config.n_layer), self.config.n_layer
        stream = self._column(self.found, "resid_post", last)
        if self.config.final_norm:
            told = self._column(self.said, "norm_f", range(here, here + 1))
            kept = self._kept(stream) / self._kept(self._column(self.said, "resid_post", last))
            yield here, "norm_f", told * kept
            if not self.config.tied:  # a tied head favours the token that a position reads
                yield here, "logits", self._through("logits", "norm_f", range(here, here + 1))

    def _factors(self, site: str) -> Array:
        """Return the factors (layers, 2) of stream and branch at a sum."""
        part = "attn" if site == "resid_mid" else "mlp"
        names = f"skip_{part}", f"branch_{part}"
        return np.array([[getattr(block.factors, name) for name in names] for block in self.blocks])

    def _column(self, table: pd.DataFrame, site: str, layers: range) -> Array:
        column = table.get(site)
        if column is None:
            return np.full(len(layers), np.nan)
        return column.reindex(layers).to_numpy(float)

    def _measured(self, site: str) -> Array:
        return self._column(self.found, site, self.layers)

    def _through(self, site: str, source: str, layers: range) -> Array:
        """Multiply what a step reads by what theory says that the step multiplies by."""
        told, into = self._column(self.said, site, layers), self._column(self.said, source, layers)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (
                told / np.where(into > 0, into, np.nan) * self._column(self.found, source, layers)
            )

    def _kept(self, square: Array) -> Array:
        """Return the share of its mean square that a norm's epsilon leaves."""
        return square / (square + self.config.norm_eps)

    def _normed(self, site: str, source: str) -> Array:
        told, into = (self._column(self.said, name, self.layers) for name in (site, source))
        with np.errstate(divide="ignore", invalid="ignore"):
            return told * self._kept(self._measured(source)) / self._kept(into)

    def _activated(self) -> Array:
        enters = self._measured("mlp_gate" if self.config.gated else "mlp_up")
        known = np.where(np.isfinite(enters), enters, 0.0)
        value = ACTIVATIONS[self.config.activation].dual(known, known, known).value
        squares = np.where(np.isfinite(enters), value, np.nan)
        return squares * self._measured("mlp_up") if self.config.gated else squares


def squares(profile: Profile, seed: int) -> pd.DataFrame:
    """Return every site's forward second moment: a row a layer, a column a site."""
    rows = profile.table[
        (profile.table["n_layer"] == profile.config.n_layer)
        & (profile.table["seed"] == seed)
        & (profile.table["direction"] == "forward")
        & (profile.table["statistic"] == "second_moment")
    ].drop_duplicates(["layer", "site"], keep="last")
    return rows.pivot(index="layer", columns="site", values="value")


def expected(measured: Profile, predicted: Profile, rule: Rule) -> Iterator[tuple[int, Law]]:
    """Yield (seed, law) for each seed of a measurement."""
    said, gains = squares(predicted, 0), Gains(measured.config, rule)
    blocks = [gains.layer(layer, layer + 1) for layer in range(measured.config.n_layer)]
    for seed in measured.run.seeds:
        laws = Laws(measured.config, blocks, said, squares(measured, seed))
        yield from ((seed, law) for law in laws.all())
