"""What surrounds the blocks: embedding, final norm, head and loss, measured both ways."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from initscope.construction import Outside
from initscope.gpt import Embedding, Last
from initscope.gradient_norm import total_product, vector_square
from initscope.loss import KEPT_BYTES, LossGradient, Softmax, VocabularyPart, mean_loss
from initscope.moments import scaled
from initscope.plan import Painter, Plan
from initscope.probe import Probe, pull_back
from initscope.readout import Key
from initscope.recorder import Recorder
from initscope.sites import embedding_parameters, head_parameters
from initscope.token_table import TokenTable
from initscope.vocabulary import Seen

T = TypeVar("T")


class Share(NamedTuple):
    """Some of the ids, and what they have of the loss."""

    ids: range
    part: VocabularyPart


class Ends:
    """Embedding and head of one model: what stays in memory while the blocks stream by.

    Of the tables of tokens that is only the rows of the tokens that occur.

    Args:
        plan: what to measure.
        painter: draws the weights.
        ids: token ids (B, T + 1) on the host.
    """

    def __init__(self, plan: Plan, painter: Painter, ids: Tensor) -> None:
        config, device = plan.config, plan.allocation.device
        self.config, self.recorder = config, painter.recorder
        self._seen = Seen(ids[:, :-1], device)
        self._targets = ids.to(device)[:, 1:].flatten()
        wte, *before = embedding_parameters(config)
        after = {p.path: p for p in head_parameters(config)}
        looked_up = TokenTable(painter, wte)
        head = after.pop("head.weight", None)
        self._table = TokenTable(painter, head) if head else looked_up

        few = dataclasses.replace(config, vocab_size=len(self._seen))
        self.embedding = plan.allocation.empty(lambda: Embedding(few))
        self._gather(looked_up)
        painter.draw(self.embedding, before, audit=True)
        self.last = plan.allocation.empty(lambda: Last(config))
        painter.draw(self.last, after.values(), audit=True)
        for module in (self.embedding, self.last):
            module.requires_grad_(requires_grad=False)
        self.embedding.multiplier, self._multiplier = Outside.of(config, plan.rule)
        self._entries = {p.label: math.prod(p.shape) for p in (wte, *before)}

    def _gather(self, table: TokenTable) -> None:
        """Look the rows up that occur, and record the moments of all."""
        weight = self.embedding.wte.weight.data

        def share(ids: range, to: Recorder) -> None:
            for first, rows in table.audited(ids, to):
                where, here = self._seen.within(first, len(rows))
                weight[where] = rows[here]

        self._all(partial(share, ids) for ids in table.shares(self.recorder.crew.strength))

    def embed(self) -> Tensor:
        """Return the stream before the first block (B, T, C)."""
        sites = {**self._embed_norm(), "embed": self.embedding.embed}
        with Probe(self.recorder, sites, layer=-1):
            return self.embedding(self._seen.place)

    def _embed_norm(self) -> dict[str, nn.Module]:
        return {"norm_embed": self.embedding.norm_embed} if self.config.embed_norm else {}

    def _before_norm(self, gradient: Tensor) -> Tensor:
        """Carry the gradient of the embedding's output back through its norm."""
        x = self.embedding.look_up(self._seen.place).requires_grad_()
        probe = Probe(self.recorder, self._embed_norm(), layer=-1, forward=False, backward=True)
        with probe, torch.enable_grad():
            return pull_back(self.embedding.norm_embed(x), x, gradient)

    def loss(self, x: Tensor, *, backward: bool) -> Tensor | None:
        """Record final norm, logits and loss; return the stream's gradient where asked for."""
        last = self.config.n_layer
        sites = {"norm_f": self.last.norm_f} if self.config.final_norm else {}
        x = x.detach().requires_grad_(backward)
        probe = Probe(self.recorder, sites, layer=last, backward=backward)
        with probe, torch.set_grad_enabled(backward):
            normed = self.last.norm_f(x)
            gradient = self._cross_entropy(normed.detach().flatten(0, 1), backward=backward)
            if gradient is None:
                return None
            return pull_back(normed, x, gradient.view_as(normed).to(normed.dtype))

    @torch.no_grad()
    def _cross_entropy(self, x: Tensor, *, backward: bool) -> Tensor | None:
        """Record logits and loss of the head's input (N, C); return its gradient if asked for."""
        self.recorder.crew.settle()  # what remains of the blocks would delay one of the shares
        count = self.recorder.crew.strength
        shares = [
            Share(ids, VocabularyPart(
                x, self._targets, self._multiplier,
                keep_bytes=KEPT_BYTES // count if backward else 0,
            ))
            for ids in self._table.shares(count)
        ]  # fmt: skip
        sums = self._all(partial(self._share_forward, share) for share in shares)
        loss, log_normaliser = mean_loss(sums)
        self.recorder.add(Key(self.config.n_layer, "loss", "forward", "loss"), loss)
        if not backward:
            return None
        passed = self._all(partial(self._share_back, share, log_normaliser) for share in shares)
        self._table.let_go()  # backward needs room
        self._into_rows = torch.cat([gradient.rows for gradient in passed])
        return torch.stack([gradient.x for gradient in passed]).sum(0)

    def _all(self, records: Iterable[Callable[[Recorder], T]]) -> list[T]:
        """Have all of them record, at once where there is a crew."""
        tasks = [self.recorder.beside(record) for record in records]
        self.recorder.crew.settle()
        return [task.result() for task in tasks]

    def _share_forward(self, share: Share, to: Recorder) -> Softmax:
        logits = Key(self.config.n_layer, "logits", "forward", "activation")
        # A tied table was looked at when its rows were looked up.
        slices = self._table.slices if self.config.tied else partial(self._table.audited, to=to)
        return share.part.forward(slices(share.ids), partial(to.add_moments, logits))

    def _share_back(self, share: Share, log_normaliser: Tensor, to: Recorder) -> LossGradient:
        logits = Key(self.config.n_layer, "logits", "backward", "gradient")

        def record(g: Tensor, weight_square: Tensor) -> None:
            to.add_moments(logits, g, 2)
            to.add(self._head_key(), weight_square, self._table.entries)

        slices = self._table.slices(share.ids)
        return share.part.backward(slices, log_normaliser, self._seen, record)

    def _head_key(self) -> Key:
        if self.config.tied:
            return Key(-1, "wte", "weight_grad", "weight_gradient")
        return Key(self.config.n_layer, "head", "weight_grad", "weight_gradient")

    @torch.no_grad()
    def embedding_gradient(self, gradient: Tensor) -> None:
        """Record the gradients of the embedding's output (B, T, C) and of its tables."""
        self.recorder.add_moments(Key(-1, "embed", "backward", "gradient"), gradient, 2)
        g = scaled(self._before_norm(gradient) if self.config.embed_norm else gradient)
        scale = g.scale * self.embedding.multiplier
        rows = g.values.new_zeros(len(self._seen), self.config.n_embd)
        rows.index_add_(0, self._seen.place.flatten(), g.values.flatten(0, 1))
        self._record("wte", vector_square(rows, scale))
        if self.config.tied:
            self._record("wte", _twice_product(rows, scale, self._into_rows))
        if self.embedding.wpe is not None:
            self._record("wpe", vector_square(g.values.sum(0), scale))

    def _record(self, label: str, raw: Tensor) -> None:
        key = Key(-1, label, "weight_grad", "weight_gradient")
        self.recorder.add(key, raw, self._entries[label])


def _twice_product(rows: Tensor, scale: Tensor, other: Tensor) -> Tensor:
    """Pack 2<A, B>, the cross term of the two gradients that a tied embedding adds up."""
    small = scaled(other)
    total = 2 * total_product(rows, small.values)
    ones = torch.ones_like(scale)
    return torch.stack([scale, small.scale, ones, ones, total.to(scale.dtype)])
