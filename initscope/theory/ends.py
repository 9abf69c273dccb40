"""Head and loss on kernels (docs/theory.md, §10)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.rules.core import Rule
from initscope.sites import head_parameters, model_site
from initscope.theory.block import Stream
from initscope.theory.fluctuation import Lever
from initscope.theory.gains import Map, variance
from initscope.theory.kernels import Batch, Norm, Normed, own
from initscope.theory.matches import Matches
from initscope.theory.returning import Way
from initscope.theory.softmax import log_normaliser, participation
from initscope.theory.start import Start, norm_map

Array = npt.NDArray[np.floating[Any]]


class Loss(NamedTuple):
    """What the head computes: kernels, the loss, and what its gradient starts from.

    ``token`` (P,) is the logit of the token that a position itself reads, which a tied head
    favours; ``taken`` its probability; ``peaked`` the others' Σ p², ``total`` ln Σ exp(logit).
    """

    normed: Normed | None
    x: Array
    logit_square: float
    token: Array
    taken: Array
    peaked: Array
    loss: float


@dataclass(frozen=True, eq=False)
class Ends:
    """The parameters outside the blocks: variances of an entry, and factors."""

    config: GPTConfig
    batch: Batch
    matches: Matches
    start: Start
    head: float
    gain: Map
    logits: float

    @classmethod
    def of(cls, config: GPTConfig, rule: Rule, batch: Batch, matches: Matches) -> Ends:
        """Read a rule's draws and factors.

        Raises:
            UsageError: for a draw that theory does not cover.
        """
        after, start = head_parameters(config), Start.of(config, rule, batch, matches)
        return cls(
            config=config, batch=batch, matches=matches, start=start,
            head=start.wte if config.tied else variance(after, rule, "head"),
            gain=norm_map(after, rule),
            logits=rule.multipliers(model_site(config, config.n_layer)).logits,
        )  # fmt: skip

    @property
    def token(self) -> float:
        """What the embedding of a token is multiplied by before the first block."""
        return self.start.token

    def loss(self, end: Stream, skipped: float) -> Loss:
        """Return the loss on the last block's kernel.

        ``skipped`` is the factor that skips and norms have put on the embedding since it
        entered the stream.
        """
        normed = None
        if self.config.final_norm:
            normed = self.norm.forward(end.kernel, self.gain, mean=end.mean)
        x = end.kernel if normed is None else normed.kernel
        width, vocabulary = self.config.n_embd, self.config.vocab_size
        factor = self.logits**2 * width * self.head
        square = factor * own(x)
        token = np.zeros_like(square)
        if self.config.tied:
            inverse = 1.0 if normed is None else normed.inverse * math.sqrt(self.gain.scale)
            token = self.logits * width * self.start.wte * self.token * skipped * inverse + token
        one = float(square @ self.batch.at.single)
        others = log_normaliser(np.array(vocabulary - 1.0), math.sqrt(one))
        rest = others + (square - one) / 2  # positions hardly differ after a norm
        whole = np.logaddexp(rest, token)
        taken = np.exp(token - whole) if self.config.tied else np.zeros_like(token)
        again = self.matches.next_is_same if self.config.tied else 0.0
        loss = float((whole - again * token) @ self.batch.at.single)
        peaked = participation(np.array(float(vocabulary)), math.sqrt(one)) + np.zeros_like(token)
        return Loss(normed, x, one, token, taken, peaked, loss)

    @property
    def norm(self) -> Norm:
        """The final norm."""
        return Norm.of(self.config)

    def errors(self, loss: Loss, along: Array | float = 0.0) -> Array:
        """Return Σ_v (p_v - [v = y]) (p'_v - [v = y']) / N² for every pair of tokens.

        Targets match as often as inputs do, and a token's target is what the next one reads.
        ``along`` (P,) is the part of the row of the token read that a norm takes away again.
        """
        vocabulary = self.config.vocab_size
        other, read = 1 - loss.taken, loss.taken
        guessed, both = self._guessed(loss), np.multiply.outer(other, other)
        kernel = np.empty_like(loss.x)
        kernel[..., :-1] = both * (guessed[..., :-1] - 2 / vocabulary)
        kernel[0, :, :-1] += both * self.matches.within
        kernel[0, :, :-1] -= (read * (1 - along))[:, None] * self.batch.at.adjacent
        kernel[0, :, -1] = 1 + other**2 * loss.peaked + read**2 * (1 - along)
        kernel[0, :, -1] -= 2 * other / vocabulary
        if len(kernel) > 1:
            kernel[1, :, :-1] += both * self.matches.across
            kernel[1, :, -1] = other**2 * (self.matches.across + guessed[1, :, -1] - 2 / vocabulary)
        return kernel / self.batch.tokens**2

    def gradient(self, loss: Loss, stream: Array) -> Array:
        """Return the kernel of the loss's gradient at the head's input, Σ_v (p_v - [v = y]) w_v."""
        along: Array | float = 0.0
        if self.config.tied:
            along = np.clip(
                self.start.wte * self.token**2 / np.maximum(own(stream), 1e-300), 0.0, 1.0
            )
        return self.logits**2 * self.head * self.errors(loss, along)

    def _guessed(self, loss: Loss) -> Array:
        """Σ_v p_v p'_v for two tokens, whose logits are as correlated as their streams."""
        overlap = np.minimum(self.logits**2 * self.config.n_embd * self.head * loss.x, 500.0)
        return np.minimum(np.exp(overlap) / self.config.vocab_size, 1.0)

    def looked_up(self, gradient: Array) -> float:
        """Mean square of the token table's gradient from its lookups: tokens alike add up."""
        batch, found = self.batch, self.matches
        gradient = self.start.before_norm(gradient)
        shares = np.zeros_like(gradient)
        shares[0, :, :-1], shares[0, :, -1] = found.within, 1.0
        shares[1:] = found.across
        return self.start.embed**2 * batch.total(gradient, shares) / self.config.vocab_size

    def unembedded(self, loss: Loss) -> float:
        """Mean square of the head's gradient."""
        total = self.batch.total(loss.x, self.errors(loss))
        return self.logits**2 * total / self.config.vocab_size

    def back(self, gradient: Array, loss: Loss, rough: float) -> Array:
        """Pass the gradient back through the final norm."""
        if loss.normed is None:
            return gradient
        passed = self.norm.backward(gradient, loss.normed, self.gain)
        return passed * (1 + rough)

    def way(self, end: Stream, loss: Loss, common: float) -> Way:
        """Return how the gradient comes to the last block's end: the final norm divides it.

        ``common`` is the relative variance of the stream's mean square over all tokens.
        """
        square, within = self.batch.mean(end.kernel), self.matches.within
        alike = (1 - loss.taken) ** 2 @ self.batch.at.single
        repeats = within * (1 - within) * float(alike) ** 2
        if not self.config.final_norm or square <= 0:
            return Way(1.0, Lever(0.0, 0.0, 0.0), 0.0, repeats)
        return Way(1.0, Lever(1 / square, 0.0, 1 / square), common, repeats)
