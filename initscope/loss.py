"""Next-token cross-entropy in slices of the vocabulary, with its exact gradients.

The logits of all tokens over the whole vocabulary never exist at once. They are needed twice,
for the normaliser and for the gradient: what fits a fixed budget is kept in between, the rest
is computed again. Parts of the vocabulary are independent but for the normaliser, so that
several threads can have one each. Nor does the weight exist at once: it comes in slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from initscope.gradient_norm import LinearInput
from initscope.moments import Scaled
from initscope.vocabulary import Rows, Seen

# float32 logits computed at a time; on the CPU few enough to stay in its last cache.
LOGIT_BYTES = {"cpu": 4 << 20}
DEVICE_LOGIT_BYTES = 256 << 20
KEPT_BYTES = 64 << 20  # of all parts together, kept for the gradient

OnLogits = Callable[[Tensor], None]


class Softmax(NamedTuple):
    """What a part knows of each token's softmax; all (N, 1), float32.

    ``top`` is the largest logit, ``total`` Σ exp(logit - top) and ``target`` the target's logit,
    0 where it belongs to another part.
    """

    top: Tensor
    total: Tensor
    target: Tensor


class LossGradient(NamedTuple):
    """What a part passes back: to the head's input (N, C), and into rows of its weight."""

    x: Tensor
    rows: Tensor


class Kept(NamedTuple):
    """exp(logits - top) of a slice (N, width), and the ``top`` (N, 1) of that moment."""

    exponentials: Tensor
    top: Tensor


def mean_loss(parts: Sequence[Softmax]) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy, and each token's log normaliser (N, 1)."""
    top = torch.stack([part.top for part in parts]).amax(0)
    total = torch.stack([part.total * (part.top - top).exp() for part in parts]).sum(0)
    target = torch.stack([part.target for part in parts]).sum(0)
    log_normaliser = top + total.log()
    return (log_normaliser - target).mean(), log_normaliser


class VocabularyPart:
    """The share of some of the ids in the mean cross-entropy.

    The logits are ``multiplier · x @ weightᵀ``. The weight comes as slices of rows, those of
    successive ids, the same ones forward and backward.

    Args:
        x: the head's input (N, C).
        targets: the next ids (N,).
        multiplier: the method's factor on the logits.
        keep_bytes: memory for what is kept from :meth:`forward` to :meth:`backward`.
    """

    def __init__(
        self, x: Tensor, targets: Tensor, multiplier: float = 1.0, *, keep_bytes: int = 0
    ) -> None:
        self.x, self.targets, self.multiplier = x, targets, multiplier
        budget = LOGIT_BYTES.get(x.device.type, DEVICE_LOGIT_BYTES)
        self._width = max(1, budget // (4 * len(x)))
        self._held = torch.empty(0, device=x.device)
        self._room = keep_bytes // (4 * len(x))
        self._kept: dict[int, Kept] = {}

    def _narrow(self, weight: Iterable[Rows]) -> Iterator[Rows]:
        """Cut slices of the weight, so that their logits keep to the budget."""
        for first, rows in weight:
            for start in range(0, len(rows), self._width):
                yield Rows(first + start, rows[start : start + self._width])

    def _logits(self, weight: Tensor, *, keep: bool = False) -> Tensor:
        """Return a slice of the logits (N, width), in memory that the next slice may reuse."""
        size = len(self.x) * len(weight)
        if not keep and len(self._held) < size:
            self._held = torch.empty(size, device=self.x.device)
        held = torch.empty(size, device=self.x.device) if keep else self._held[:size]
        logits = held.view(len(self.x), -1)
        if self.x.dtype == torch.float32:
            torch.mm(self.x, weight.T, out=logits)
        else:
            logits.copy_(self.x @ weight.T)
        return logits if self.multiplier == 1 else logits.mul_(self.multiplier)

    def _columns(self, start: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the targets as columns (N, 1) of a slice, and which of them lie in it."""
        column = (self.targets - start)[:, None]
        return column.clamp(0, width - 1), (column >= 0) & (column < width)

    def forward(self, weight: Iterable[Rows], on_logits: OnLogits) -> Softmax:
        """Show each slice of logits (N, width) to ``on_logits``, and sum up their exponentials."""
        top = self.x.new_full((len(self.x), 1), -torch.inf, dtype=torch.float32)
        total, target = torch.zeros_like(top), torch.zeros_like(top)
        for start, rows in self._narrow(weight):
            keep = len(rows) <= self._room
            logits = self._logits(rows, keep=keep)
            on_logits(logits)
            column, inside = self._columns(start, len(rows))
            target += logits.gather(1, column).masked_fill(~inside, 0)
            higher = torch.maximum(top, logits.amax(1, keepdim=True))
            exponentials = logits.sub_(higher).exp_()
            total = total * (top - higher).exp() + exponentials.sum(1, keepdim=True)
            top = higher
            if keep:
                self._kept[start] = Kept(exponentials, top)
                self._room -= len(rows)
        return Softmax(top, total, target)

    def _probabilities(self, start: int, rows: Tensor, log_normaliser: Tensor) -> Tensor:
        """Return a slice of the softmax (N, width)."""
        if kept := self._kept.pop(start, None):
            return kept.exponentials.mul_((kept.top - log_normaliser).exp())
        return self._logits(rows).sub_(log_normaliser).exp_()

    def backward(
        self,
        weight: Iterable[Rows],
        log_normaliser: Tensor,
        seen: Seen,
        on_gradient: Callable[[Tensor, Tensor], None],
    ) -> LossGradient:
        """Pass the mean loss back; call after :meth:`forward`.

        ``log_normaliser``: (N, 1), that of the whole vocabulary. ``seen`` chooses the rows of the
        weight's gradient that are returned. ``on_gradient`` is shown each slice's logit gradient
        and the packed squared norm of the slice's weight gradient
        (:meth:`~initscope.gradient_norm.LinearInput.gradient_square`).
        """
        back = torch.zeros_like(self.x, dtype=torch.float32)
        chosen: list[Tensor] = []
        shared = LinearInput(self.x)
        scale = back.new_full((), abs(self.multiplier) / len(self.x))
        for start, rows in self._narrow(weight):
            g = self._probabilities(start, rows, log_normaliser)
            column, inside = self._columns(start, len(rows))
            g.scatter_add_(1, column, inside.float().neg_())
            square = shared.gradient_square(Scaled(g, scale))  # no entry is beyond ±1 yet
            on_gradient(g.div_(len(self.x)), square)
            back.addmm_(g, rows.float())
            _, here = seen.within(start, len(rows))
            chosen.append(g[:, here].T @ self.x.float())
        return LossGradient(back.mul_(self.multiplier), torch.cat(chosen).mul_(self.multiplier))
