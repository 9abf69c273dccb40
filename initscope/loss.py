"""Next-token cross-entropy in chunks over the vocabulary, with its exact gradients.

The logits of all tokens over the whole vocabulary never exist at once: they are computed twice,
once for the normaliser and once for the gradient, a slice of the vocabulary at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from initscope.moments import LinearInput, Scaled

# float32 logits held at a time; on the CPU few enough to stay in its last cache.
LOGIT_BYTES = {"cpu": 4 << 20}
DEVICE_LOGIT_BYTES = 256 << 20

OnLogits = Callable[[Tensor], None]


class LossGradient(NamedTuple):
    """What the loss passes back: to the head's input (N, C), and into rows of its weight."""

    x: Tensor
    rows: Tensor


class ChunkedLoss:
    """Mean cross-entropy of logits ``multiplier · x @ weightᵀ`` against ``targets``.

    Args:
        x: the head's input (N, C).
        weight: the head's weight (V, C).
        targets: the next ids (N,).
        multiplier: the method's factor on the logits.
    """

    def __init__(self, x: Tensor, weight: Tensor, targets: Tensor, multiplier: float = 1.0) -> None:
        self.x, self.weight, self.targets, self.multiplier = x, weight, targets, multiplier
        budget = LOGIT_BYTES.get(x.device.type, DEVICE_LOGIT_BYTES)
        self.width = min(len(weight), max(1, budget // (4 * len(x))))
        self._held = torch.empty(len(x) * self.width, device=x.device)
        self._log_normaliser: Tensor | None = None

    def _slices(self) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(self.weight), self.width):
            yield start, self.weight[start : start + self.width]

    def _logits(self, weight: Tensor) -> Tensor:
        """Return a slice of the logits (N, width), in memory that the next slice will reuse."""
        logits = self._held[: len(self.x) * len(weight)].view(len(self.x), -1)
        if self.x.dtype == torch.float32:
            torch.mm(self.x, weight.T, out=logits)
        else:
            logits.copy_(self.x @ weight.T)
        return logits if self.multiplier == 1 else logits.mul_(self.multiplier)

    def _columns(self, start: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the targets as columns (N, 1) of a slice, and which of them lie in it."""
        column = (self.targets - start)[:, None]
        return column.clamp(0, width - 1), (column >= 0) & (column < width)

    def forward(self, on_logits: OnLogits) -> Tensor:
        """Return the loss, showing each slice of logits (N, width) to ``on_logits``."""
        top = self.x.new_full((len(self.x), 1), -torch.inf, dtype=torch.float32)
        total, target = torch.zeros_like(top), torch.zeros_like(top)
        for start, weight in self._slices():
            logits = self._logits(weight)
            on_logits(logits)
            column, inside = self._columns(start, len(weight))
            target += logits.gather(1, column).masked_fill(~inside, 0)
            higher = torch.maximum(top, logits.amax(1, keepdim=True))
            total = total * (top - higher).exp() + logits.sub_(higher).exp_().sum(1, keepdim=True)
            top = higher
        self._log_normaliser = top + total.log()
        return (self._log_normaliser - target).mean()

    def backward(
        self, rows: Sequence[int], on_gradient: Callable[[Tensor, Tensor], None]
    ) -> LossGradient:
        """Pass the loss back; call after :meth:`forward`.

        ``rows``, sorted, choose the rows of the weight's gradient that are returned.
        ``on_gradient`` is shown each slice's logit gradient and the packed squared norm of the
        slice's weight gradient (:meth:`~initscope.moments.LinearInput.gradient_square`).
        """
        assert self._log_normaliser is not None, "forward comes first"
        back = torch.zeros_like(self.x, dtype=torch.float32)
        kept: list[Tensor] = []
        shared = LinearInput(self.x)
        scale = back.new_full((), abs(self.multiplier) / len(self.x))
        for start, weight in self._slices():
            g = self._logits(weight).sub_(self._log_normaliser).exp_()
            column, inside = self._columns(start, len(weight))
            g.scatter_add_(1, column, inside.float().neg_())
            square = shared.gradient_square(Scaled(g, scale))  # no entry is beyond ±1 yet
            on_gradient(g.div_(len(self.x)), square)
            back.addmm_(g, weight.float())
            here = [row - start for row in rows if start <= row < start + len(weight)]
            kept.append(g[:, here].T @ self.x.float())
        return LossGradient(back.mul_(self.multiplier), torch.cat(kept).mul_(self.multiplier))
