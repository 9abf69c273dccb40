"""What is read off the kernels: the statistics that a measurement takes at the same sites."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.theory import mlp
from initscope.theory.block import Block, Stream, Trace
from initscope.theory.kernels import Batch, Norm
from initscope.theory.recursion import Step
from initscope.theory.retrace import Return
from initscope.theory.returning import Gradients
from initscope.theory.series import Series

Array = npt.NDArray[np.floating[Any]]

STREAM = frozenset({"embed", "resid_pre", "resid_mid", "resid_post", "norm_f"})


class Activation(NamedTuple):
    """A site's kernel, its number of features, and the mean of its entries by position."""

    site: str
    kernel: Array
    features: float
    mean: Array | None = None


def moments(batch: Batch, one: Activation) -> dict[str, float]:
    """Return second moment, variance and mean over all entries.

    The mean of all entries is itself random: E mean² = μ² + (mean over pairs - μ²)/features.
    """
    square = batch.mean(one.kernel)
    centre = 0.0 if one.mean is None else float(one.mean @ batch.at.single)
    scatter = (batch.every(one.kernel) - centre**2) / one.features
    return {
        "second_moment": square,
        "variance": max(square - centre**2 - scatter, 0.0),
        "mean": centre,
    }


def record_activations(series: Series, block: Block, step: Step) -> None:
    """Record one block's forward statistics."""
    batch, trace = block.batch, step.trace
    for one in activations(block, trace):
        if series.wants(one.site):
            series.add(step.place, one.site, "forward", **moments(batch, one))
    for site, at in streams(trace):
        series.add(step.place, site, "forward", **stream(block, at))
    if not series.wants("attn"):
        return
    for site, ratio in _branch_ratios(batch, trace, outputs=block.config.norms_output):
        series.add(step.place, site, "forward", branch_ratio=ratio)
    if batch.at.length > 1:
        attention = block.attention
        series.add(
            step.place, "attn", "forward", attention_entropy=attention.entropy(trace.mixed),
            attention_logit_std=attention.logit_std(trace.mixed),
        )  # fmt: skip


def streams(trace: Trace) -> Iterator[tuple[str, Stream]]:
    """Yield the stream's sites."""
    yield "resid_pre", trace.pre
    yield "resid_mid", trace.mid.stream
    yield "resid_post", trace.post.stream


def stream(block: Block, at: Stream) -> dict[str, float]:
    """Return what is said of the stream alone: the tokens' cosine and the seeds' spread."""
    values = {"spread": math.sqrt(block.common(at))}
    if block.batch.at.length > 1:
        cosine, size = block.batch.cosine(at.kernel), block.size(at.kernel)
        values["token_cosine"] = cosine + at.moves.bias(size)
    return values


def activations(block: Block, trace: Trace) -> Iterator[Activation]:
    """Yield a block's sites that have been worked out."""
    config, mixed, hidden = block.config, trace.mixed, trace.hidden
    d, kv, ff = config.n_embd, config.kv_width, config.d_ff
    after = free(block.norm, d) if config.norm == "post" else d
    for site, at in streams(trace):
        fluctuates = at.moves.square + at.moves.own > 0
        positions = np.broadcast_to(at.mean, len(block.batch.at.start))
        yield Activation(site, at.kernel, d if fluctuates else after, positions)
    yield Activation("q", mixed.q, d)
    yield Activation("k", mixed.k, kv)
    yield Activation("v", mixed.v, kv)
    yield Activation("attn", mixed.out, d)
    yield Activation("attn_out", trace.mid.branch, d)
    yield Activation("mlp_up", hidden.up, ff)
    yield Activation("mlp_act", hidden.act, ff, mlp.mean(config, hidden))
    yield Activation("mlp_down", trace.post.branch, d)
    if hidden.gate is not None:
        yield Activation("mlp_gate", hidden.gate, ff)
    outputs = config.norms_output
    for site, normed, width in (
        ("norm_1", trace.norm_1, d), ("norm_2", trace.norm_2, d),
        ("norm_1_out", trace.mid.normed if outputs else None, d),
        ("norm_2_out", trace.post.normed if outputs else None, d),
        ("norm_attn", trace.mid.inner, d), ("norm_mlp", trace.post.inner, ff),
    ):  # fmt: skip
        if normed is not None:
            yield Activation(site, normed.kernel, free(block.norm, width))


def free(norm: Norm, width: int) -> float:
    """Return the features that a mean over entries scatters by: LayerNorm leaves no mean."""
    return math.inf if norm.centred else width


def _branch_ratios(batch: Batch, trace: Trace, *, outputs: bool) -> Iterator[tuple[str, float]]:
    factors = trace.layer.factors
    for site, added, onto, ratio in (
        ("attn_out", trace.mid, trace.pre, factors.branch_attn / factors.skip_attn),
        ("mlp_down", trace.post, trace.mid.stream, factors.branch_mlp / factors.skip_mlp),
    ):
        branch = added.normed.kernel if outputs and added.normed else added.branch
        below = batch.mean(onto.kernel)
        share = batch.mean(branch) / below if below > 0 else math.nan
        yield site, abs(ratio) * math.sqrt(share)


def record_gradients(series: Series, block: Block, found: Return) -> None:
    """Record one block's gradients, of its activations and of its parameters."""
    place, _, trace, gradients, after = found
    for site, kernel, features in _gradients(block, trace, gradients):
        if not series.wants(site):
            continue
        one = Activation(site, kernel, features)
        series.add(place, site, "backward", **moments(block.batch, one))
        if site in STREAM:
            spread = gradients.way.spread if site == "resid_pre" else after
            series.add(place, site, "backward", spread=math.sqrt(max(spread, 0.0)))
    if not series.wants("attn"):
        return
    for label, square in _weights(block, trace, gradients):
        series.add(place, label, "weight_grad", second_moment=max(square, 0.0))


def _gradients(block: Block, trace: Trace, g: Gradients) -> Iterator[tuple[str, Array, int]]:
    config = block.config
    d, kv, ff, groups = (
        config.n_embd, config.kv_width, config.d_ff, config.n_head / config.n_kv_head
    )  # fmt: skip
    yield from (("resid_post", g.post, d), ("mlp_down", g.down, d), ("mlp_act", g.mlp.act, ff))
    yield from (("mlp_up", g.mlp.up, ff), ("resid_mid", g.mid, d), ("attn_out", g.out, d))
    yield from (("attn", g.attn, d), ("q", g.passed.q, d), ("k", groups * g.passed.k, kv))
    yield from (("v", groups * g.passed.v, kv), ("resid_pre", g.pre, d))
    if g.mlp.gate is not None:
        yield "mlp_gate", g.mlp.gate, ff
    for site, kernel, normed in (
        ("norm_1", g.norm_1, trace.norm_1), ("norm_2", g.norm_2, trace.norm_2)
    ):  # fmt: skip
        if normed is not None:
            yield site, kernel, d
    for site, inner, width in (("norm_attn", g.inner_1, d), ("norm_mlp", g.inner_2, ff)):
        if inner is not None:
            yield site, inner, width


def _weights(block: Block, trace: Trace, g: Gradients) -> Iterator[tuple[str, float]]:
    """Yield each parameter's mean squared gradient: a sum over pairs of tokens."""
    total, groups = block.batch.total, block.config.n_head / block.config.n_kv_head
    mixed = trace.mid.inner.kernel if trace.mid.inner else trace.mixed.out
    act = trace.post.inner.kernel if trace.post.inner else trace.hidden.act
    linear = [
        ("q", g.passed.q, trace.x_1), ("v", groups * g.passed.v, trace.x_1),
        ("attn_out", g.out, mixed), ("mlp_up", g.mlp.up, trace.x_2), ("mlp_down", g.down, act),
    ]  # fmt: skip
    if g.mlp.gate is not None:
        linear.append(("mlp_gate", g.mlp.gate, trace.x_2))
    yield "k", groups * _mirrored(block, trace, total(g.passed.q, trace.x_1))
    for label, gradient, x in linear:
        yield label, total(gradient, x)
        if f"{label}.bias" in block.labels:
            yield f"{label}.bias", total(gradient, np.ones_like(gradient))
    if "k.bias" in block.labels:
        yield "k.bias", 0.0  # what all keys share passes no softmax
    for label, at, normed in (
        ("norm_1", g.norm_1, trace.norm_1), ("norm_2", g.norm_2, trace.norm_2),
        ("norm_attn", g.inner_1, trace.mid.inner), ("norm_mlp", g.inner_2, trace.post.inner),
    ):  # fmt: skip
        if normed is not None and at is not None:
            yield from _norm(block, trace, label, at, normed.kernel)


def _mirrored(block: Block, trace: Trace, query: float) -> float:
    """Return the key weight's squared gradient given the query's, as q·k is alike in both.

    Each is a sum over four tokens of the same products, but for the other one's scale.
    """
    if block.config.qk_norm:
        mean = block.batch.mean
        return query * mean(trace.mixed.q) / mean(trace.mixed.k)
    maps = trace.layer.maps
    return query * maps["q"].scale / maps["k"].scale if maps["k"].scale else 0.0


def _norm(
    block: Block, trace: Trace, label: str, gradient: Array, x: Array
) -> Iterator[tuple[str, float]]:
    gain = trace.layer.maps[label]
    plain = (x - gain.shift) / gain.scale if gain.scale else np.zeros_like(x)
    yield label, block.batch.total(gradient, plain)
    if f"{label}.bias" in block.labels:
        yield f"{label}.bias", block.batch.total(gradient, np.ones_like(gradient))
