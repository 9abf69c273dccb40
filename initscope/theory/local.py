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
        before = self.config.norm in {"pre", "sandwich"}
        x_1, x_2 = ("norm_1", "norm_2") if before else ("resid_pre", "resid_mid")
        yield -1, "embed", self._column(self.said, "embed", range(-1, 0))
        yield from self._block(x_1, x_2)
        if before:
            yield 0, "norm_1", self._normed("norm_1", "resid_pre")
            yield 0, "norm_2", self._normed("norm_2", "resid_mid")
        yield from self._sums()
        yield from self._head()

    def _block(self, x_1: str, x_2: str) -> Iterator[Law]:
        linear = [("q", x_1), ("k", x_1), ("v", x_1), ("attn_out", "attn"), ("mlp_up", x_2),
                  ("mlp_down", "mlp_act")]  # fmt: skip
        linear += [("mlp_gate", x_2)] if self.config.gated else []
        for site, source in linear:
            scale, shift = np.array([block.maps[site] for block in self.blocks]).T
            yield 0, site, scale * self._measured(source) + shift
        yield 0, "attn", self._through("attn", "v", self.layers)
        if self.config.norm != "none":  # without one, tokens differ in what enters the activation
            yield 0, "mlp_act", self._activated()

    def _sums(self) -> Iterator[Law]:
        for site, stream, branch in (
            ("resid_mid", "resid_pre", "attn_out"), ("resid_post", "resid_mid", "mlp_down"),
        ):  # fmt: skip
            if self.config.norm == "post":  # the sum is seen only after its norm
                yield 0, site, self._column(self.said, site, self.layers)
                continue
            if self.config.norm == "sandwich":
                normed = f"norm_{1 if branch == 'attn_out' else 2}_out"
                yield 0, normed, self._normed(normed, branch)
                branch = normed  # noqa: PLW2901 - what is added is the norm's output
            skip, scale = self._factors(site).T
            added = self._measured(stream) * skip**2 + self._measured(branch) * scale**2
            yield 0, site, added

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
