"""The embedding on kernels: tables, sinusoids and a norm (docs/theory.md, §1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.rules.core import Rule
from initscope.sites import Parameter, embedding_parameters, model_site
from initscope.theory.block import Stream
from initscope.theory.fluctuation import Size, wishart
from initscope.theory.gains import Map, variance
from initscope.theory.kernels import Batch, Norm, Normed
from initscope.theory.matches import Matches

Array = npt.NDArray[np.floating[Any]]

WAVES = 10_000.0  # period of the slowest sinusoid, over 2π (Vaswani et al. 2017)


@dataclass(frozen=True, eq=False)
class Start:
    """The tables: variances of an entry; ``first`` is the norm behind them."""

    config: GPTConfig
    batch: Batch
    matches: Matches
    wte: float
    wpe: float
    first: Map
    embed: float

    @classmethod
    def of(cls, config: GPTConfig, rule: Rule, batch: Batch, matches: Matches) -> Start:
        """Read a rule's draws and factor.

        Raises:
            UsageError: for a draw that theory does not cover.
        """
        before = embedding_parameters(config)
        return cls(
            config=config, batch=batch, matches=matches, wte=variance(before, rule, "wte"),
            wpe=variance(before, rule, "wpe"), first=norm_map(before, rule),
            embed=rule.multipliers(model_site(config, -1)).embed,
        )  # fmt: skip

    @property
    def norm(self) -> Norm:
        """The norm behind the tables."""
        return Norm.of(self.config)

    @cached_property
    def stream(self) -> Stream:
        """The stream before the first block."""
        moves = wishart(self._size(self._looked_up), 2 / self.config.n_embd)
        if self.config.positions == "sinusoidal":  # waves are the same in every draw
            moves = moves.plus(wishart(self._size(self._waves), 2 / self.config.n_embd), -1.0)
        # Of the pairs that make up the mean product some share all of their token, others nothing.
        token, within = (self.wte * self.embed**2) ** 2, self.matches.within
        repeats = within * (1 - within) * token * 2 / self.config.n_embd
        moves = moves._replace(
            square=moves.square + repeats, apart=moves.apart + self.matches.twins * token
        )
        kernel, mean = self._looked_up, self._wave_means
        if self.normed is None:
            return Stream(kernel, moves, mean)
        size = self._size(kernel)
        ratio = self.batch.mean(self.normed.kernel) / max(size.square, 1e-300)
        mean = 0.0 if self.norm.centred else mean * self.normed.inverse
        return Stream(self.normed.kernel, moves.normed(size, ratio), mean)

    @cached_property
    def normed(self) -> Normed | None:
        """What a norm makes of the embedding."""
        if not self.config.embed_norm:
            return None
        return self.norm.forward(self._looked_up, self.first, mean=self._wave_means)

    @cached_property
    def _looked_up(self) -> Array:
        """The embedding's kernel: two tokens share it if they match, two places never."""
        size = len(self.batch.at.start)
        kernel = np.empty((min(self.batch.sequences, 2), size, size + 1))
        kernel[0, :, :-1] = self.wte * self.matches.within
        kernel[0, :, -1] = self.wte + self.wpe
        if len(kernel) > 1:
            kernel[1, :, :-1] = self.wte * self.matches.across
            kernel[1, :, -1] = self.wte * self.matches.across + self.wpe
        return kernel * self.embed**2 + self._waves

    @cached_property
    def _waves(self) -> Array:
        """Kernel of the sinusoids: half the mean cosine of the angle between two positions."""
        size = len(self.batch.at.start)
        kernel = np.zeros((min(self.batch.sequences, 2), size, size + 1))
        if self.config.positions == "sinusoidal":
            pairs = self.batch.at.turned(self.config.n_embd, WAVES)
            kernel += np.column_stack([pairs, np.ones(size)]) / 2
        return kernel

    @cached_property
    def _wave_means(self) -> Array | float:
        """Mean over the features of the sinusoids at each position (P,)."""
        if self.config.positions != "sinusoidal":
            return 0.0
        return self.batch.at.waves(self.config.n_embd, WAVES)

    def _size(self, kernel: Array) -> Size:
        return Size(self.batch.mean(kernel), self.batch.between(kernel))

    @property
    def token(self) -> float:
        """What the embedding of a token is multiplied by before the first block."""
        if self.normed is None:
            return self.embed
        inverse = float(self.normed.inverse @ self.batch.at.single)
        return self.embed * inverse * math.sqrt(self.first.scale)

    def before_norm(self, gradient: Array) -> Array:
        """Pass the gradient of the first block's input back to the tables."""
        if self.normed is None:
            return gradient
        passed = self.norm.backward(gradient, self.normed, self.first)
        return passed * (1 + 2 / self.config.n_embd)


def norm_map(parameters: Sequence[Parameter], rule: Rule) -> Map:
    """Return the gain and bias of the norm among parameters outside the blocks."""
    gains = [rule.draw(p.site) for p in parameters if p.site.role == "norm_gain"]
    square = gains[0].std ** 2 + gains[0].mean ** 2 if gains else 1.0
    return Map(square, variance(parameters, rule, "norm_bias"))
