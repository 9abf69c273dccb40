"""A small Llama-like GPT, initialised well, and with each of the mistakes that people made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initscope.auditing import audit
from initscope.options import Options
from initscope.own import Subject
from initscope.provenance import Audit
from initscope.rules import get_rule
from initscope.target import Factory

STD = 0.02
SIZE = {"n_layer": 8, "n_embd": 64, "n_head": 4, "d_ff": 192, "vocab_size": 256}
OPTIONS = Options(seq_len=16, device="cpu")


@dataclass
class Size:
    """What the model is built from; ``branch`` multiplies both branches in the forward pass."""

    n_layer: int = 8
    n_embd: int = 64
    n_head: int = 4
    d_ff: int = 192
    vocab_size: int = 256
    branch: Callable[[int], float] = lambda _n_layer: 1.0


class Block(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        d = size.n_embd
        self.n_head, self.branch = size.n_head, size.branch(size.n_layer)
        self.norm_1, self.norm_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.w1, self.w3 = (nn.Linear(d, size.d_ff, bias=False) for _ in range(2))
        self.w2 = nn.Linear(size.d_ff, d, bias=False)

    def attend(self, x: Tensor) -> Tensor:
        heads = (self.n_head, -1)
        q, k, v = (w(x).unflatten(-1, heads).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(y.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.branch * self.attend(self.norm_1(x))
        y = self.norm_2(x)
        return x + self.branch * self.w2(F.silu(self.w1(y)) * self.w3(y))


class PlainGPT(nn.Module):
    """A GPT as torch's modules leave it."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.Embedding(size.vocab_size, size.n_embd)
        self.layers = nn.ModuleList(Block(size) for _ in range(size.n_layer))
        self.norm = nn.LayerNorm(size.n_embd)
        self.head = nn.Linear(size.n_embd, size.vocab_size, bias=False)

    @property
    def blocks(self) -> list[Block]:
        return [layer for layer in self.layers if isinstance(layer, Block)]

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


Init = Callable[[PlainGPT], Any]


def fill(model: nn.Module, std: Callable[[str, Tensor], float]) -> None:
    """Draw every matrix from a normal of the std that its name and shape give."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=std(name, weight))


def writes(name: str, *names: str) -> bool:
    return name.split(".")[-2] in (names or ("wo", "w2"))


def scaled(*names: str, power: float = -0.5, std: float = STD) -> Init:
    """Draw all from N(0, std), but those named times (2 n_layer)^power."""

    def init(model: PlainGPT) -> None:
        factor = (2 * model.size.n_layer) ** power
        fill(model, lambda name, _: std * factor if writes(name, *names) else std)

    return init


sound = scaled("wo", "w2")


def by_fan_in(model: PlainGPT, *, w2: int = 0) -> None:
    """Draw by 1/sqrt(fan_in), which is ``w2`` for the down projection if that is given."""

    def std(name: str, weight: Tensor) -> float:
        if weight.shape[0] == model.size.vocab_size:
            return STD
        fan_in = w2 if w2 and writes(name, "w2") else weight.shape[1]
        depth = math.sqrt(2 * model.size.n_layer) if writes(name) else 1
        return 1 / math.sqrt(fan_in) / depth

    fill(model, std)


from_hidden = partial(by_fan_in, w2=64)


def by_layer(model: PlainGPT) -> None:
    """Draw the weights that write to the stream by 0.02 / sqrt(2 (layer + 1))."""
    sound(model)
    for place, layer in enumerate(model.blocks):
        for weight in (layer.wo.weight, layer.w2.weight):
            nn.init.normal_(weight, std=STD / math.sqrt(2 * (place + 1)))


def three_times(model: PlainGPT) -> None:
    for _ in range(3):
        sound(model)


def chosen_first(model: PlainGPT) -> None:
    """Draw what is special, and then everything: the order that loses it."""
    for layer in model.blocks:
        nn.init.normal_(layer.wo.weight, std=STD / 4)
    fill(model, lambda *_: STD)


def truncated(model: PlainGPT, *, units: float = 1.0) -> None:
    """Truncate at ±2, in units of the std only where ``units`` is the std."""
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.trunc_normal_(weight, std=STD, a=-2 * units, b=2 * units)


def at_the_bound(model: PlainGPT) -> None:
    sound(model)
    with torch.no_grad():
        model.blocks[1].w1.weight[3, 5] = 2.0


def loud(model: PlainGPT) -> None:
    sound(model)
    nn.init.normal_(model.head.weight, std=1.0)


def tied(model: PlainGPT) -> None:
    model.head.weight = model.embed.weight
    model.apply(_each)


def _each(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=STD)


def without_attention(model: PlainGPT) -> None:
    """Leave the attention out of the initialisation."""
    drawn: list[Tensor] = [*model.embed.parameters(), *model.head.parameters()]
    for layer in model.blocks:
        drawn += [layer.w1.weight, layer.w2.weight, layer.w3.weight]
    for weight in drawn:
        nn.init.normal_(weight, std=STD)


def subject(init: Init, kind: type[PlainGPT] = PlainGPT, **fields: Any) -> Subject:
    """Return a model to audit: built, and then initialised."""

    def make(**given: Any) -> PlainGPT:
        model = kind(Size(**{**given, **fields}))
        init(model)
        return model

    return Subject(factory=Factory("planted", make, dict(SIZE), {}, "n_layer"))


def audited(
    init: Init, kind: type[PlainGPT] = PlainGPT, *, rule: str = "", meta: bool | None = None,
    **fields: Any,
) -> Audit:  # fmt: skip
    asked = get_rule(rule) if rule else None
    return audit(subject(init, kind, **fields), OPTIONS, asked, meta=meta)
