"""A GPT whose every measured tensor passes a named module; it does not draw its own weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initscope.config import GPTConfig
from initscope.crew import Crew
from initscope.positions import per_query_head, rotate, sinusoids, with_distance
from initscope.recall import Outputs, Recalled, told, unread
from initscope.rules.core import Multipliers

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "silu": F.silu,
    "swiglu": F.silu,
    "geglu": F.gelu,
}

# Below this the slope of the activation stays under 0.02 in absolute value.
SATURATED_BELOW = {
    "gelu": -2.80, "gelu_tanh": -2.79, "relu": 0.0, "relu2": 0.01,
    "silu": -5.38, "swiglu": -5.38, "geglu": -2.80,
}  # fmt: skip


def times(x: Tensor, factor: float) -> Tensor:
    """Multiply, except by 1: a plain GPT pays nothing for multipliers that it lacks."""
    return x if factor == 1 else x * factor


def make_norm(config: GPTConfig, width: int = 0) -> nn.Module:
    """Return the configured norm over the residual stream's width, or another."""
    width = width or config.n_embd
    if config.norm_kind == "rmsnorm":
        return nn.RMSNorm(width, eps=config.norm_eps)
    return nn.LayerNorm(width, eps=config.norm_eps, bias=config.bias)


class CausalAttention(nn.Module):
    """softmax(q·k · scale, causal) v; a module, so that a hook sees q and k as they meet."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q: (B, H, T, D); k, v: (B, H_kv, T, D) -> (B, H, T, D)."""
        k, v = per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1])
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)


class Block(nn.Module):
    """Attention and MLP on a residual stream (B, T, C).

    The modules that are nn.Identity exist to be hooked: each is named as its site.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.multipliers = Multipliers()
        d, kv, ff, bias = config.n_embd, config.kv_width, config.d_ff, config.bias
        self.resid_pre, self.resid_mid, self.resid_post = (nn.Identity() for _ in range(3))
        self.norm_1 = self._norm("norm_1")
        self.q, self.k, self.v = (Recalled(d, width, bias) for width in (d, kv, kv))
        self.attend = CausalAttention(1 / math.sqrt(config.head_size))
        self.attn = nn.Identity()
        self.norm_attn = self._norm("norm_attn")
        self.attn_out = Recalled(d, d, bias)
        self.norm_1_out = self._norm("norm_1_out")
        self.norm_2 = self._norm("norm_2")
        if config.gated:
            self.mlp_gate = Recalled(d, ff, bias)
        self.mlp_up = Recalled(d, ff, bias)
        self.mlp_act = nn.Identity()
        self.norm_mlp = self._norm("norm_mlp", ff)
        self.mlp_down = Recalled(ff, d, bias)
        self.norm_2_out = self._norm("norm_2_out")

    def _norm(self, name: str, width: int = 0) -> nn.Module:
        present = name in self.config.block_norms
        return make_norm(self.config, width) if present else nn.Identity()

    def set_multipliers(self, multipliers: Multipliers) -> None:
        """Install the factors that a method adds to the forward pass."""
        self.multipliers = multipliers
        self.attend.scale = multipliers.attention / math.sqrt(self.config.head_size)

    def for_signal(self, crew: Crew, into: Outputs | None) -> AbstractContextManager[None]:
        """Run the block without gradients, its products shared with a crew, and maybe kept."""
        return told(self, crew, into=into)

    def for_gradient(self, crew: Crew, known: Outputs | None) -> AbstractContextManager[None]:
        """Run the block for its gradient: what is known, or only its output needs, is left out."""
        return told(self, crew, known=known, nobody_reads=unread(self.config))

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream (B, T, C) to the stream one block later."""
        m, branches = self.multipliers, self.config.branches
        x = self.resid_pre(x)
        read = self._read(self.norm_1, x)
        added = times(self.norm_1_out(self._attention(read)), m.branch_attn)
        mid = self.resid_mid(self._write(self.norm_1, times(x, m.skip_attn) + added))
        if branches != "shared":
            read = self._read(self.norm_2, x if branches == "parallel" else mid)
        added = times(self.norm_2_out(self._mlp(read)), m.branch_mlp)
        return self.resid_post(self._write(self.norm_2, times(mid, m.skip_mlp) + added))

    def _read(self, norm: nn.Module, x: Tensor) -> Tensor:
        """Return what a branch makes of the stream before it begins."""
        return x if self.config.norm == "post" else norm(x)

    def _write(self, norm: nn.Module, x: Tensor) -> Tensor:
        """Return what the sum of stream and branch becomes."""
        return norm(x) if self.config.norm == "post" else x

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.config.head_size)).transpose(1, 2)

    def _position(self, x: Tensor) -> Tensor:
        """Normalise and rotate a query or key (B, H, T, D) as configured."""
        if self.config.positions == "rope":
            x = rotate(x, self.config.rope_theta, self.config.rotated)
        if self.config.qk_norm:
            x = F.rms_norm(x, (x.shape[-1],), eps=self.config.norm_eps)
        return x

    def _attention(self, x: Tensor) -> Tensor:
        q, k = (self._position(self._heads(linear(x))) for linear in (self.q, self.k))
        if self.config.positions == "alibi":
            q, k = with_distance(q, k, self.attend.scale)
        mixed = self.attend(q, k, self._heads(self.v(x)))
        return self.attn_out(self.norm_attn(self.attn(mixed.transpose(1, 2).flatten(2))))

    def _mlp(self, x: Tensor) -> Tensor:
        activation = ACTIVATIONS[self.config.activation]
        if self.config.gated:
            hidden = activation(self.mlp_gate(x)) * self.mlp_up(x)
        else:
            hidden = activation(self.mlp_up(x))
        return self.mlp_down(self.norm_mlp(self.mlp_act(hidden)))


def empty_embedding(ids: int, width: int) -> nn.Embedding:
    """Return a table that is not drawn yet (nn.Embedding draws its own, slow on meta)."""
    return nn.Embedding(ids, width, _weight=torch.empty(ids, width))


class Embedding(nn.Module):
    """Token ids (B, T) to the stream before the first block (B, T, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.multiplier = 1.0
        self.wte = empty_embedding(config.vocab_size, config.n_embd)
        learned = config.positions == "learned"
        self.wpe = empty_embedding(config.block_size, config.n_embd) if learned else None
        self.sinusoidal = config.positions == "sinusoidal"
        self.norm_embed = make_norm(config) if config.embed_norm else nn.Identity()
        self.embed = nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        """Look up tokens and positions, and normalise them where that is asked for."""
        return self.embed(self.norm_embed(self.look_up(ids)))

    def look_up(self, ids: Tensor) -> Tensor:
        """Return tokens plus positions (B, T, C) before any norm; waves keep their size."""
        x = self.wte(ids)
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        x = times(x, self.multiplier)
        return x + sinusoids(x) if self.sinusoidal else x


class Last(nn.Module):
    """What the head reads: the stream after the final norm, where there is one."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm_f = make_norm(config) if config.final_norm else nn.Identity()


class Head(Last):
    """The final norm and the map to logits; a tied map is the token embedding."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.multiplier = 1.0
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> logits (B, T, V)."""
        return times(self.head(self.norm_f(x)), self.multiplier)


class GPT(nn.Module):
    """Embedding, blocks and head, all in memory: an ordinary module, ready to be trained."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.unembedding = Head(config)

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """ids (B, T) -> logits (B, T, V), and the mean cross-entropy where targets are given."""
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        logits = self.unembedding(x)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
