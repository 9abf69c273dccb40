"""An independent measurement of a whole GPT: plain autograd, plain hooks, NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor, nn

from initscope.gpt import GPT, CausalAttention

Values = dict[tuple[int, str, str, str], float]


def moments(x: Tensor) -> dict[str, float]:
    """Compute moments the plain way, in float64."""
    a = x.detach().double().numpy().ravel()
    variance = a.var()
    fourth = ((a - a.mean()) ** 4).mean()
    return {
        "second_moment": (a**2).mean(), "variance": variance, "mean": a.mean(),
        "max_abs": np.abs(a).max(), "kurtosis": fourth / variance**2 - 3 if variance else math.nan,
    }  # fmt: skip


def token_cosine(x: Tensor) -> float:
    """Average the cosine over every pair of different tokens, one pair at a time."""
    a = x.detach().double().numpy()
    unit = a / np.linalg.norm(a, axis=-1, keepdims=True)
    tokens = a.shape[1]
    gram = np.einsum("btc,bsc->bts", unit, unit)
    return float(np.mean([g[~np.eye(tokens, dtype=bool)].mean() for g in gram]))


def attention(q: Tensor, k: Tensor, scale: float) -> tuple[float, float]:
    """Compute the entropy share and the logits' std, row by row."""
    a, b = q.detach().double().numpy(), k.detach().double().numpy()
    b = np.repeat(b, a.shape[1] // b.shape[1], axis=1)
    shares, variances = [], []
    for queries, keys in zip(a.reshape(-1, *a.shape[2:]), b.reshape(-1, *b.shape[2:]), strict=True):
        for t in range(1, len(queries)):
            logits = keys[: t + 1] @ queries[t] * scale
            p = np.exp(logits - logits.max())
            p /= p.sum()
            shares.append(-(p * np.log(p)).sum() / math.log(t + 1))
            variances.append(logits.var())
    return float(np.mean(shares)), math.sqrt(np.mean(variances))


def sites(model: GPT) -> dict[tuple[int, str], nn.Module]:
    """Name the modules whose output a profile describes."""
    found: dict[tuple[int, str], nn.Module] = {(-1, "embed"): model.embedding.embed}
    absent = (nn.Identity,)
    if not isinstance(model.embedding.norm_embed, absent):
        found[-1, "norm_embed"] = model.embedding.norm_embed
    for layer, block in enumerate(model.blocks):
        for name, module in block.named_children():
            tap = name in {"resid_pre", "resid_mid", "resid_post", "attn", "mlp_act"}
            if name != "attend" and (tap or not isinstance(module, absent)):
                found[layer, name] = module
    last = len(model.blocks)
    if not isinstance(model.unembedding.norm_f, absent):
        found[last, "norm_f"] = model.unembedding.norm_f
    found[last, "logits"] = model.unembedding
    return found


def labels(model: GPT) -> dict[tuple[int, str], nn.Parameter]:
    """Name the parameters as a profile does, a tied head with its embedding."""
    found = {}
    last = len(model.blocks)
    for path, parameter in model.named_parameters():
        parts = path.split(".")
        layer, name = -1, ".".join(parts[1:])
        if parts[0] == "blocks":
            layer, name = int(parts[1]), ".".join(parts[2:])
        elif parts[0] == "unembedding":
            layer = last
        found[layer, name.removesuffix(".weight")] = parameter
    return found


def attentions(model: GPT) -> list[CausalAttention]:
    """List the blocks' softmax attentions, from first to last."""
    return [module for module in model.modules() if isinstance(module, CausalAttention)]


def gradient(x: Tensor) -> Tensor:
    """Return what autograd left in a tensor that the loss depends on."""
    assert x.grad is not None
    return x.grad


def measure(model: GPT, ids: Tensor) -> Values:
    """Run the model once, forward and backward, and reduce what the hooks kept."""
    kept: dict[tuple[int, str], Tensor] = {}
    pairs: dict[int, tuple[Tensor, Tensor]] = {}
    for key, module in sites(model).items():
        module.register_forward_hook(lambda _m, _a, out, key=key: kept.__setitem__(key, out))
    for layer, attend in enumerate(attentions(model)):
        attend.register_forward_hook(
            lambda _m, args, _o, layer=layer: pairs.__setitem__(layer, args[:2])
        )
    _, loss = model(ids[:, :-1], ids[:, 1:])
    outputs = [out for out in kept.values() if out.requires_grad]
    for out in outputs:
        out.retain_grad()
    loss.backward()
    return _reduce(model, kept, pairs, loss.item())


def _reduce(
    model: GPT,
    kept: dict[tuple[int, str], Tensor],
    pairs: dict[int, tuple[Tensor, Tensor]],
    loss: float,
) -> Values:
    values: Values = {}
    for (layer, site), x in kept.items():
        for name, value in moments(x).items():
            values[layer, site, "forward", name] = value
        for name, value in moments(gradient(x)).items():
            if name != "kurtosis":
                values[layer, site, "backward", name] = value
        if site in {"embed", "resid_pre", "resid_mid", "resid_post", "norm_f"}:
            values[layer, site, "forward", "token_cosine"] = token_cosine(x)
        if site == "mlp_act":
            values[layer, site, "forward", "zero_share"] = float((x == 0).double().mean())
    for layer, attend in enumerate(attentions(model)):
        share, std = attention(*pairs[layer], attend.scale)
        values[layer, "attn", "forward", "attention_entropy"] = share
        values[layer, "attn", "forward", "attention_logit_std"] = std
    total = 0.0
    for (layer, label), parameter in labels(model).items():
        grad = gradient(parameter).double().numpy()
        total += float((grad**2).sum())
        values[layer, label, "weight_grad", "second_moment"] = float((grad**2).mean())
        for name, value in moments(parameter).items():
            values[layer, label, "weight", name] = value
    last = len(model.blocks)
    values[last, "loss", "forward", "loss"] = loss
    values[last, "model", "weight_grad", "grad_norm"] = math.sqrt(total)
    return values
