"""Profiles by formula: known numbers for the renderers, without measuring anything."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from initscope.config import GPTConfig
from initscope.glossary import SITES
from initscope.profile import Profile, Reading, Run, concat, frame
from initscope.sites import all_parameters

ORDER = list(SITES)
BRANCHES = ("attn_out", "mlp_down")
STREAM = ("resid_pre", "resid_mid", "resid_post")
IN_BLOCK = (
    "resid_pre", "norm_1", "q", "k", "v", "attn", "attn_out", "resid_mid",
    "norm_2", "mlp_up", "mlp_act", "mlp_down", "resid_post",
)  # fmt: skip

# (layer, site): the first activation, in the order of the forward pass, that overflows.
Place = tuple[int, str]


def profile(
    rule: str = "nanogpt",
    *,
    n_layer: int = 4,
    seeds: int = 1,
    start: float = 8e-4,
    growth: float = 1.1,
    branch: float = 0.3,
    overflow: Place | None = None,
    backward: bool = True,
    config: GPTConfig | None = None,
) -> Profile:
    """Build a profile whose stream variance is ``start · growth^(layer + 1) · (1 + seed/50)``.

    ``branch`` is every branch ratio (0: zero-initialised branches), each gradient's variance
    ``1e-6 · growth^-(layer + 1)``. From ``overflow`` on activations are infinite, and then
    all gradients are NaN.
    """
    config = config or GPTConfig(n_layer=n_layer, n_embd=64, vocab_size=512, block_size=64)
    tables = []
    for seed in range(seeds):
        scale = 1 + seed / 50
        readings = [*_forward(config, start * scale, growth, branch, overflow)]
        if backward:
            readings += _backward(config, 1e-6 * scale, growth, lost=overflow is not None)
        tables.append(frame(rule, config.n_layer, seed, readings))
    run = Run(
        source="stream", device="cpu", dtype="float32", tokens="zipf, 1 x 64", batch=1,
        seq_len=64, seeds=tuple(range(seeds)),
    )  # fmt: skip
    return Profile(rule=rule, config=config, run=run, table=concat(tables))


def places(config: GPTConfig) -> Iterator[Place]:
    """List every activation in the order of the forward pass."""
    yield -1, "embed"
    yield from ((layer, site) for layer in range(config.n_layer) for site in IN_BLOCK)
    yield from ((config.n_layer, site) for site in ("norm_f", "logits"))


def _forward(
    config: GPTConfig, start: float, growth: float, branch: float, overflow: Place | None
) -> Iterator[Reading]:
    for layer, site in places(config):
        exponent = layer if site == "resid_pre" else layer + 1
        variance = start * growth**exponent
        variance *= branch**2 if site in BRANCHES else 1
        lost = overflow is not None and _rank((layer, site)) >= _rank(overflow)
        values = _activation(math.inf if lost else variance)
        if site in BRANCHES:
            values["branch_ratio"] = math.nan if lost else branch
        if site in STREAM or site == "embed":
            values["token_cosine"] = math.nan if lost else (layer + 1) / (config.n_layer + 1)
        if site == "attn":
            values["attention_entropy"] = math.nan if lost else 0.99 - 0.01 * layer
        for name, value in values.items():
            yield Reading(layer, site, "forward", name, value)
    loss = math.nan if overflow else math.log(config.vocab_size) + 0.03125
    yield Reading(config.n_layer, "loss", "forward", "loss", loss)
    excess = loss - math.log(config.vocab_size)
    yield Reading(config.n_layer, "loss", "forward", "loss_excess", excess)


def _activation(variance: float) -> dict[str, float]:
    max_abs = 4 * math.sqrt(variance)
    bits = math.log2(max_abs) if max_abs > 0 else -math.inf
    return {
        "second_moment": variance,
        "variance": variance,
        "mean": 0.0 if math.isfinite(variance) else math.nan,
        "max_abs": max_abs,
        "headroom_fp16": math.log2(65504) - bits,
        "headroom_bf16": 128 - bits,
    }


def _backward(config: GPTConfig, start: float, growth: float, *, lost: bool) -> Iterator[Reading]:
    for layer, site in places(config):
        variance = math.nan if lost else start * growth ** -(layer + 1)
        for name in ("second_moment", "variance"):
            yield Reading(layer, site, "backward", name, variance)
    for parameter in all_parameters(config):
        layer = parameter.site.layer
        square = math.nan if lost else start * growth ** -(layer + 1)
        yield Reading(layer, parameter.label, "weight_grad", "second_moment", square)
    norm = math.nan if lost else 2.5
    yield Reading(config.n_layer, "model", "weight_grad", "grad_norm", norm)


def _rank(place: Place) -> tuple[int, int]:
    layer, site = place
    return layer, ORDER.index(site)


def without(profile: Profile, **cells: object) -> Profile:
    """Return the profile without the rows that have these values in these columns."""
    return with_table(profile, profile.table[~_rows(profile.table, cells)])


def _rows(table: pd.DataFrame, cells: dict[str, object]) -> pd.Series[bool]:
    hit = pd.Series(data=True, index=table.index)
    for column, wanted in cells.items():
        hit &= table[column] == wanted
    return hit


def with_table(profile: Profile, table: pd.DataFrame) -> Profile:
    """Return the profile with another table."""
    return Profile(rule=profile.rule, config=profile.config, run=profile.run, table=table)


def value(
    profile: Profile, site: str, statistic: str, layer: int, direction: str = "forward"
) -> float:
    """Look up one reading of the first seed."""
    return float(profile.select(site, direction, statistic).to_dict()[0][layer])


def exploding(rule: str = "kaiming", *, seeds: int = 1) -> Profile:
    """Return 8 layers whose stream grows 1e4-fold each until ``mlp_act`` of layer 5 overflows."""
    return profile(rule, n_layer=8, growth=1e4, overflow=(5, "mlp_act"), seeds=seeds)


def changed(profile: Profile, value: float, **cells: object) -> Profile:
    """Return the profile with another value in the rows that have these values."""
    table = profile.table.copy()
    table.loc[_rows(table, cells), "value"] = value
    return with_table(profile, table)
