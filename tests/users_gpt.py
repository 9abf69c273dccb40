"""A GPT as users write it: fused projections, a config dataclass, logits of the last token only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass
class Settings:
    """What the model is built from."""

    n_layer: int = 12
    n_embd: int = 48
    n_head: int = 4
    vocab_size: int = 97
    block_size: int = 32
    dropout: float = 0.0
    bias: bool = False
    scaled: bool = True
    in_place: bool = False
    fused_softmax: bool = True
    checkpointing: str = ""


class SelfAttention(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.n_embd
        self.n_head, self.fused = settings.n_head, settings.fused_softmax
        self.c_attn = nn.Linear(width, 3 * width, bias=settings.bias)
        self.c_proj = nn.Linear(width, width, bias=settings.bias)
        self.drop = nn.Dropout(settings.dropout)
        size = settings.block_size
        self.causal: Tensor
        self.register_buffer("causal", torch.ones(size, size).tril().bool()[None, None])

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        heads = (batch, tokens, self.n_head, width // self.n_head)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.c_attn(x).split(width, dim=2))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(k.shape[-1])
            scores = scores.masked_fill(~self.causal[:, :, :tokens, :tokens], -math.inf)
            y = self.drop(F.softmax(scores, dim=-1)) @ v
        y = y.transpose(1, 2).contiguous().view(batch, tokens, width)
        return self.drop(self.c_proj(y))


class FeedForward(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.n_embd
        self.c_fc = nn.Linear(width, 4 * width, bias=settings.bias)
        self.gelu = nn.GELU()
        self.c_proj = nn.Linear(4 * width, width, bias=settings.bias)
        self.drop = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.c_proj(self.gelu(self.c_fc(x))))


class Layer(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(settings.n_embd, bias=settings.bias)
        self.attn = SelfAttention(settings)
        self.ln_2 = nn.LayerNorm(settings.n_embd, bias=settings.bias)
        self.mlp = FeedForward(settings)
        self.in_place = settings.in_place

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            y = x.clone()
            y += self.attn(self.ln_1(x))
            z = y.clone()
            z += self.mlp(self.ln_2(y))
            return z
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class UsersGPT(nn.Module):
    """Returns (logits, loss); without targets the logits of the last token alone."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(settings.vocab_size, settings.n_embd),
            "wpe": nn.Embedding(settings.block_size, settings.n_embd),
            "drop": nn.Dropout(settings.dropout),
            "h": nn.ModuleList(Layer(settings) for _ in range(settings.n_layer)),
            "ln_f": nn.LayerNorm(settings.n_embd, bias=settings.bias),
        })  # fmt: skip
        self.lm_head = nn.Linear(settings.n_embd, settings.vocab_size, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight
        self.apply(self._draw)
        for name, parameter in self.named_parameters():
            if settings.scaled and name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * settings.n_layer))

    def _draw(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        place = torch.arange(idx.shape[1], device=idx.device)
        x = self.transformer["wte"](idx) + self.transformer["wpe"](place)
        x = self.transformer["drop"](x)
        for layer in self.transformer["h"].children():
            x = self._run(layer, x)
        x = self.transformer["ln_f"](x)
        if targets is None:
            return self.lm_head(x[:, [-1], :]), None
        logits = self.lm_head(x)
        return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.flatten())

    def _run(self, layer: nn.Module, x: Tensor) -> Tensor:
        kind = self.settings.checkpointing
        if not kind or not torch.is_grad_enabled():
            return layer(x)
        return checkpoint(layer, x, use_reentrant=kind == "reentrant")


def users_gpt(**fields: object) -> UsersGPT:
    """Build one after seeding, so that two of the same fields hold the same numbers."""
    torch.manual_seed(0)
    return UsersGPT(Settings(**{"n_layer": 3, **fields}))  # type: ignore[arg-type]


class Shared(nn.Module):
    """One block that runs four times."""

    def __init__(self) -> None:
        super().__init__()
        inner = users_gpt(n_layer=1)
        self.embed = inner.transformer["wte"]
        block = inner.transformer["h"][0]  # type: ignore[index]
        self.blocks = nn.ModuleList([block] * 4)
        self.out = nn.Linear(48, 97)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.out(x)
