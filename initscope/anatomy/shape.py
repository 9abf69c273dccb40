"""The nearest GPTConfig to a model: what a profile says of its shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, get_args

import torch
from torch import nn

from initscope.anatomy.body import Anatomy
from initscope.config import Activation, GPTConfig, NormKind, Positions, default_heads


def shape(anatomy: Anatomy, *, vocab_size: int, seq_len: int) -> GPTConfig:
    """Describe a model by the fields of :class:`~initscope.config.GPTConfig`.

    It is the nearest description, not a recipe: a profile needs the depth, the width, the
    vocabulary and where the norms stand. What the model does not have keeps its default.
    """
    parts = anatomy.parts
    n_head = _usual(part.n_head for part in parts)
    if not n_head or anatomy.width % n_head:
        n_head = default_heads(anatomy.width)
    n_kv_head = _usual(part.n_kv_head for part in parts)
    activation = _usual(part.activation for part in parts)
    positions = _positions(anatomy)
    return GPTConfig(
        n_layer=anatomy.n_layer, n_embd=anatomy.width, n_head=n_head,
        n_kv_head=n_kv_head if n_kv_head and n_head % n_kv_head == 0 else n_head,
        d_ff=_usual(part.d_ff for part in parts) or 4 * anatomy.width,
        vocab_size=vocab_size,
        block_size=_positions_held(anatomy) or seq_len,
        norm=_usual(part.norm for part in parts) or "none",
        norm_kind=_norm_kind(anatomy),
        norm_eps=_norm_eps(anatomy),
        activation=activation if activation in get_args(Activation) else "gelu",
        positions="none" if positions == "rope" and anatomy.width // n_head % 2 else positions,
        bias=any(one.label.endswith(".bias") for one in anatomy.parameters),
        tied=anatomy.tied,
    )  # fmt: skip


def _usual(values: Iterable[Any]) -> Any:  # noqa: ANN401 - of whatever kind they are
    """Return the commonest value that says something."""
    counted = Counter(value for value in values if value)
    return counted.most_common(1)[0][0] if counted else None


def _positions_held(anatomy: Anatomy) -> int:
    table = anatomy.wpe[1] if anatomy.wpe is not None else None
    return int(getattr(table, "num_embeddings", 0))


def _norms(anatomy: Anatomy) -> list[nn.Module]:
    taps = [tap for part in anatomy.parts for tap in part.taps]
    return [tap.module for tap in taps if tap.site.startswith("norm")]


def _norm_kind(anatomy: Anatomy) -> NormKind:
    kinds = [type(norm).__name__.lower() for norm in _norms(anatomy)]
    return "rmsnorm" if any("rms" in kind for kind in kinds) else "layernorm"


def _norm_eps(anatomy: Anatomy) -> float:
    """Return what the norms add to a mean square, by the names that PyTorch and others give it."""
    for norm in _norms(anatomy):
        for name in ("eps", "variance_epsilon"):
            value = getattr(norm, name, None)
            if isinstance(value, float):
                return value
        if isinstance(norm, nn.RMSNorm):  # None is what its numbers can tell apart from 1
            return torch.finfo(torch.float32).eps
    return 1e-5


def _positions(anatomy: Anatomy) -> Positions:
    if anatomy.wpe is not None:
        return "learned"
    names = [f"{path} {type(module).__name__}" for path, module in anatomy.model.named_modules()]
    rotary = any("rotary" in name.lower() or "rope" in name.lower() for name in names)
    return "rope" if rotary else "none"
