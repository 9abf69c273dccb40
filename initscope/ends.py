"""What surrounds the blocks: embedding, final norm, head and loss, measured both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from initscope.construction import set_multipliers, tie
from initscope.gpt import Embedding, Head
from initscope.gradient_norm import total_product, vector_square
from initscope.loss import KEPT_BYTES, LossGradient, Softmax, VocabularyPart, mean_loss
from initscope.moments import scaled
from initscope.plan import Painter, Plan
from initscope.probe import Probe, pull_back
from initscope.readout import Key
from initscope.recorder import Recorder
from initscope.sites import embedding_parameters, head_parameters

T = TypeVar("T")


class Ends:
    """Embedding and head of one model; they stay in memory while the blocks stream by.

    Args:
        plan: what to measure.
        painter: draws the weights.
        ids: token ids (B, T + 1) on the host.
    """

    def __init__(self, plan: Plan, painter: Painter, ids: Tensor) -> None:
        config, device = plan.config, plan.allocation.device
        self.config, self.recorder = config, painter.recorder
        distinct, place = ids[:, :-1].flatten().unique(return_inverse=True)
        self._rows: list[int] = distinct.tolist()  # before the ids leave the host: no sync
        self._place = place.to(device)
        ids = ids.to(device)
        self._inputs, self._targets = ids[:, :-1], ids[:, 1:].flatten()
        self._seen: Tensor | None = None
        self.embedding = plan.allocation.empty(lambda: Embedding(config))
        self.head = plan.allocation.empty(lambda: Head(config))
        tie(config, self.embedding, self.head)
        for module in (self.embedding, self.head):
            module.requires_grad_(requires_grad=False)
        painter.draw(self.embedding, embedding_parameters(config), audit=True)
        painter.draw(self.head, head_parameters(config), audit=True)
        set_multipliers(config, plan.rule, self.embedding, self.head)
        tables = {"wte": self.embedding.wte, "wpe": self.embedding.wpe}
        self._entries = {name: t.weight.numel() for name, t in tables.items() if t is not None}

    def embed(self) -> Tensor:
        """Return the stream before the first block (B, T, C)."""
        sites = {**self._embed_norm(), "embed": self.embedding.embed}
        with Probe(self.recorder, sites, layer=-1):
            return self.embedding(self._inputs)

    def _embed_norm(self) -> dict[str, nn.Module]:
        return {"norm_embed": self.embedding.norm_embed} if self.config.embed_norm else {}

    def _before_norm(self, gradient: Tensor) -> Tensor:
        """Carry the gradient of the embedding's output back through its norm."""
        x = self.embedding.look_up(self._inputs).requires_grad_()
        probe = Probe(self.recorder, self._embed_norm(), layer=-1, forward=False, backward=True)
        with probe, torch.enable_grad():
            return pull_back(self.embedding.norm_embed(x), x, gradient)

    def loss(self, x: Tensor, *, backward: bool) -> Tensor | None:
        """Record final norm, logits and loss; return the stream's gradient where asked for."""
        last = self.config.n_layer
        sites = {"norm_f": self.head.norm_f} if self.config.final_norm else {}
        x = x.detach().requires_grad_(backward)
        probe = Probe(self.recorder, sites, layer=last, backward=backward)
        with probe, torch.set_grad_enabled(backward):
            normed = self.head.norm_f(x)
            gradient = self._cross_entropy(normed.detach().flatten(0, 1), backward=backward)
            if gradient is None:
                return None
            return pull_back(normed, x, gradient.view_as(normed).to(normed.dtype))

    @torch.no_grad()
    def _cross_entropy(self, x: Tensor, *, backward: bool) -> Tensor | None:
        """Record logits and loss of the head's input (N, C); return its gradient if asked for."""
        self.recorder.crew.settle()  # what remains of the blocks would delay one of the parts
        parts = self._parts(x, KEPT_BYTES if backward else 0)
        sums = self._all(partial(self._part_forward, part) for part in parts)
        loss, log_normaliser = mean_loss(sums)
        self.recorder.add(Key(self.config.n_layer, "loss", "forward", "loss"), loss)
        if not backward:
            return None
        passed = self._all(partial(self._part_backward, part, log_normaliser) for part in parts)
        self._seen = torch.cat([gradient.rows for gradient in passed])
        if not self.config.embed_norm:  # else it is looked up once more
            self._let_go()
        return torch.stack([gradient.x for gradient in passed]).sum(0)

    def _let_go(self) -> None:
        """Free the tables of tokens, each as large as some blocks: backward needs them no more."""
        for table in (self.embedding.wte, self.head.head):
            table.weight.data = table.weight.new_empty(0)

    def _all(self, records: Iterable[Callable[[Recorder], T]]) -> list[T]:
        """Have all of them record, at once where there is a crew."""
        tasks = [self.recorder.beside(record) for record in records]
        self.recorder.crew.settle()
        return [task.result() for task in tasks]

    def _parts(self, x: Tensor, keep_bytes: int) -> list[VocabularyPart]:
        """Cut the vocabulary into a part for each thread that computes."""
        weight, count = self.head.head.weight, self.recorder.crew.strength
        height = -(-len(weight) // count)
        return [
            VocabularyPart(
                x, weight[first : first + height], self._targets, self.head.multiplier,
                first=first, keep_bytes=keep_bytes // count,
            )
            for first in range(0, len(weight), height)
        ]  # fmt: skip

    def _part_forward(self, part: VocabularyPart, to: Recorder) -> Softmax:
        logits = Key(self.config.n_layer, "logits", "forward", "activation")
        return part.forward(partial(to.add_moments, logits))

    def _part_backward(
        self, part: VocabularyPart, log_normaliser: Tensor, to: Recorder
    ) -> LossGradient:
        logits = Key(self.config.n_layer, "logits", "backward", "gradient")

        def record(g: Tensor, weight_square: Tensor) -> None:
            to.add_moments(logits, g, 2)
            to.add(self._head_key(), weight_square, self.head.head.weight.numel())

        return part.backward(log_normaliser, self._rows, record)

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
        rows = g.values.new_zeros(len(self._rows), self.config.n_embd)
        rows.index_add_(0, self._place, g.values.flatten(0, 1))
        self._record("wte", vector_square(rows, scale))
        if self.config.tied and self._seen is not None:
            self._record("wte", _twice_product(rows, scale, self._seen))
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
