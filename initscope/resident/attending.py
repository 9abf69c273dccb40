"""Attention seen from outside: the softmax's logits, whatever mask lies on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from initscope import moments
from initscope.anatomy.local import local

_SOFTMAX = frozenset({"softmax", "_softmax"})


class AttentionWatch(TorchFunctionMode):
    """Shows ``record`` the raw reduction of every attention that runs while it is entered.

    It is ``[entropy share, variance of the logits, queries]``; the first two are means over these.
    """

    def __init__(self, record: Callable[[Tensor], None], wanted: Callable[[], bool]) -> None:
        super().__init__()
        self._record, self._wanted = record, wanted

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - any operation of torch's
        _types: object,
        args: Any = (),  # noqa: ANN401 - and its arguments
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run an operation; reduce what enters a softmax over keys."""
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name == "scaled_dot_product_attention" and self._wanted():
            raw = _fused(*args, **kwargs)
        elif name in _SOFTMAX and self._wanted() and args[0].dim() == 4:
            raw = _open(args[0])
        else:
            return func(*args, **kwargs)
        if raw is not None:
            self._record(raw)
        return func(*args, **kwargs)


def _fused(
    query: Tensor,
    key: Tensor,
    _value: Tensor,
    mask: Tensor | None = None,
    *more: Any,  # noqa: ANN401 - PyTorch's other arguments
    **named: Any,  # noqa: ANN401
) -> Tensor | None:
    """Reduce the logits of a call of PyTorch's fused attention; None where there is no row."""
    call = dict(zip(("dropout_p", "is_causal", "scale", "enable_gqa"), more, strict=False)) | named
    causal, scale = bool(call.get("is_causal")), call.get("scale")
    mask = call.get("attn_mask", mask)
    if query.shape[-2] < 2 or query.dim() != 4:
        return None
    query, key = local(query), local(key)
    scale = scale if scale is not None else 1 / math.sqrt(query.shape[-1])
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        rows = _rows(query.shape[-2], query.device)
        if causal and mask is None and query.shape[-2] == key.shape[-2]:
            raw = moments.attention(query, key, scale)
            return torch.cat([raw, raw.new_full((1,), query[:, :, rows, 0].numel())])
        keys = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1).float()
        scores = query[:, :, rows].float() @ keys.transpose(-1, -2) * scale
        return _reduce(*_masked(scores, mask, rows, causal=causal))


def _masked(
    scores: Tensor, mask: Tensor | None, rows: Tensor, *, causal: bool
) -> tuple[Tensor, Tensor]:
    """Return the logits with their mask added, and which keys are hidden."""
    hidden = torch.zeros_like(scores, dtype=torch.bool)
    if causal:
        hidden |= torch.arange(scores.shape[-1], device=rows.device) > rows[:, None]
    if mask is not None:
        mask = mask[..., rows, :] if mask.shape[-2] > 1 else mask
        if mask.dtype == torch.bool:
            hidden |= ~mask
        else:
            hidden |= _is_hidden(mask)
            scores = scores + mask.float()
    return scores, hidden


def _open(logits: Tensor) -> Tensor | None:
    """Reduce logits (B, H, T, keys) that a plain softmax is about to see."""
    if logits.shape[-2] < 2 or logits.shape[-1] < logits.shape[-2]:
        return None
    with torch.no_grad():
        logits = local(logits)
        scores = logits[:, :, _rows(logits.shape[-2], logits.device)]
        return _reduce(scores.float(), _is_hidden(scores))


def _is_hidden(values: Tensor) -> Tensor:
    """Whether a mask's huge negative number, or minus infinity, was added."""
    return values < -1e4 if values.dtype == torch.float16 else values < -1e8


def _rows(tokens: int, device: torch.device) -> Tensor:
    count = min(moments.MAX_QUERIES, tokens - 1)
    return torch.linspace(1, tokens - 1, count, device=device).round().long()


def _reduce(scores: Tensor, hidden: Tensor) -> Tensor:
    """Return ``[entropy share, variance of the logits over keys, rows]`` of those with > 1 key."""
    keys = (~hidden).sum(-1)
    kept = keys > 1
    number = keys.clamp(min=2).float()
    mean = scores.masked_fill(hidden, 0).sum(-1) / number
    variance = (scores - mean[..., None]).masked_fill(hidden, 0).square().sum(-1) / number
    log_p = scores.masked_fill(hidden, -torch.inf).log_softmax(-1)
    entropy = -(log_p.exp() * log_p.masked_fill(hidden, 0)).sum(-1) / number.log()
    found = torch.stack([entropy, variance]).masked_fill(~kept, 0).flatten(1).sum(1)
    rows = kept.sum()
    return torch.cat([found / rows, rows[None].to(found.dtype)])
