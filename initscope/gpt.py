"""A GPT whose every measured tensor passes a named module; it does not draw its own weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initscope.config import GPTConfig
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


def make_norm(config: GPTConfig) -> nn.Module:
    """Return the configured norm over the residual stream's width."""
    if config.norm_kind == "rmsnorm":
        return nn.RMSNorm(config.n_embd, eps=config.norm_eps)
    return nn.LayerNorm(config.n_embd, eps=config.norm_eps, bias=config.bias)


def rotate(x: Tensor, theta: float) -> Tensor:
    """Rotary position embedding of x (B, H, T, D), halves paired (Su et al. 2021, eq. 34).

    The angles are computed anew each time: a cached buffer would be lost on the meta device.
    """
    half = x.shape[-1] // 2
    position = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)
    channel = torch.arange(half, device=x.device, dtype=torch.float32)
    angle = position[:, None] * torch.exp(channel * (-math.log(theta) / half))
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class _Unread(torch.autograd.Function):
    """A linear map whose output nobody will read: only its gradient is computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN401 - as torch has it
        """x: (B, T, fan_in), weight: (fan_out, fan_in) -> zeros (B, T, fan_out)."""
        ctx.save_for_backward(weight)
        return x.new_zeros(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """Return the gradient of x alone."""
        (weight,) = ctx.saved_tensors
        return gradient @ weight, None


class BranchEnd(nn.Linear):
    """A block's last map. When ``unread``, the block is run for its gradient alone."""

    unread = False

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, fan_in) -> (B, T, fan_out)."""
        return _Unread.apply(x, self.weight) if self.unread else super().forward(x)


class CausalAttention(nn.Module):
    """softmax(q·k · scale, causal) v; a module, so that a hook sees q and k as they meet."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q: (B, H, T, D); k, v: (B, H_kv, T, D) -> (B, H, T, D)."""
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
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
        normed, sandwich = config.norm != "none", config.norm == "sandwich"
        self.resid_pre, self.resid_mid, self.resid_post = (nn.Identity() for _ in range(3))
        self.norm_1 = make_norm(config) if normed else nn.Identity()
        self.q, self.k, self.v = (nn.Linear(d, width, bias) for width in (d, kv, kv))
        self.attend = CausalAttention(1 / math.sqrt(config.head_size))
        self.attn = nn.Identity()
        self.attn_out = nn.Linear(d, d, bias)
        self.norm_1_out = make_norm(config) if sandwich else nn.Identity()
        self.norm_2 = make_norm(config) if normed else nn.Identity()
        if config.gated:
            self.mlp_gate = nn.Linear(d, ff, bias)
        self.mlp_up = nn.Linear(d, ff, bias)
        self.mlp_act = nn.Identity()
        self.mlp_down = BranchEnd(ff, d, bias)
        self.norm_2_out = make_norm(config) if sandwich else nn.Identity()

    def set_multipliers(self, multipliers: Multipliers) -> None:
        """Install the factors that a method adds to the forward pass."""
        self.multipliers = multipliers
        self.attend.scale = multipliers.attention / math.sqrt(self.config.head_size)

    @contextmanager
    def for_gradient(self) -> Iterator[None]:
        """Run the block for its gradient: what only its output needs may be left out."""
        self.mlp_down.unread = self.config.norm in {"pre", "none"}  # else a norm reads it
        try:
            yield
        finally:
            self.mlp_down.unread = False

    def forward(self, x: Tensor) -> Tensor:
        """Map the stream (B, T, C) to the stream one block later."""
        m = self.multipliers
        x = self.resid_pre(x)
        x = self._add(x, self._attention, self.norm_1, self.norm_1_out, m.skip_attn, m.branch_attn)
        x = self.resid_mid(x)
        x = self._add(x, self._mlp, self.norm_2, self.norm_2_out, m.skip_mlp, m.branch_mlp)
        return self.resid_post(x)

    def _add(
        self,
        x: Tensor,
        branch: Callable[[Tensor], Tensor],
        norm: nn.Module,
        norm_out: nn.Module,
        skip: float,
        scale: float,
    ) -> Tensor:
        if self.config.norm == "post":
            return norm(times(x, skip) + times(branch(x), scale))
        return times(x, skip) + times(norm_out(branch(norm(x))), scale)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.config.head_size)).transpose(1, 2)

    def _position(self, x: Tensor) -> Tensor:
        """Normalise and rotate a query or key (B, H, T, D) as configured."""
        if self.config.positions == "rope":
            x = rotate(x, self.config.rope_theta)
        if self.config.qk_norm:
            x = F.rms_norm(x, (x.shape[-1],), eps=self.config.norm_eps)
        return x

    def _attention(self, x: Tensor) -> Tensor:
        q, k = (self._position(self._heads(linear(x))) for linear in (self.q, self.k))
        mixed = self.attend(q, k, self._heads(self.v(x)))
        return self.attn_out(self.attn(mixed.transpose(1, 2).flatten(2)))

    def _mlp(self, x: Tensor) -> Tensor:
        activation = ACTIVATIONS[self.config.activation]
        if self.config.gated:
            return self.mlp_down(self.mlp_act(activation(self.mlp_gate(x)) * self.mlp_up(x)))
        return self.mlp_down(self.mlp_act(activation(self.mlp_up(x))))


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
        self.embed = nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        """Look up tokens, and positions where they are learned."""
        x = self.wte(ids)
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        return self.embed(times(x, self.multiplier))


class Head(nn.Module):
    """The final norm and the map to logits; a tied map is the token embedding."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.multiplier = 1.0
        self.norm_f = make_norm(config) if config.final_norm else nn.Identity()
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
