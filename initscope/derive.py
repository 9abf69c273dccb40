"""Readings that follow from other readings: ratios, norms, and what the rule prescribes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initscope.config import GPTConfig
from initscope.profile import Reading
from initscope.rules.core import Rule
from initscope.sites import all_parameters, model_site

Index = dict[tuple[int, str, str, str], float]


def derived(config: GPTConfig, rule: Rule, readings: Sequence[Reading]) -> list[Reading]:
    """Return the readings together with all that follows from them."""
    index: Index = {reading[:4]: reading.value for reading in readings}
    return [
        *readings,
        *_branch_ratios(config, rule, index),
        *_loss_excess(config, index),
        *_gradient_norm(config, index),
        *_prescribed(config, rule),
    ]


def _branch_ratios(config: GPTConfig, rule: Rule, index: Index) -> Iterator[Reading]:
    for layer in range(config.n_layer):
        factors = rule.multipliers(model_site(config, layer))
        for site, stream, normed, ratio in (
            ("attn_out", "resid_pre", "norm_1_out", factors.branch_attn / factors.skip_attn),
            ("mlp_down", "resid_mid", "norm_2_out", factors.branch_mlp / factors.skip_mlp),
        ):
            added = index.get(
                (layer, normed if config.norms_output else site, "forward", "second_moment")
            )
            onto = index.get((layer, stream, "forward", "second_moment"))
            if added is not None and onto is not None:
                value = abs(ratio) * _root_ratio(added, onto)
                yield Reading(layer, site, "forward", "branch_ratio", value)


def _root_ratio(a: float, b: float) -> float:
    return math.sqrt(a / b) if b > 0 and math.isfinite(b) else math.nan


def _loss_excess(config: GPTConfig, index: Index) -> Iterator[Reading]:
    loss = index.get((config.n_layer, "loss", "forward", "loss"))
    if loss is not None:
        excess = loss - math.log(config.vocab_size)
        yield Reading(config.n_layer, "loss", "forward", "loss_excess", excess)


def _gradient_norm(config: GPTConfig, index: Index) -> Iterator[Reading]:
    total, found = 0.0, False
    for parameter in all_parameters(config):
        key = (parameter.site.layer, parameter.label, "weight_grad", "second_moment")
        if key in index:
            total, found = total + index[key] * math.prod(parameter.shape), True
    if found:
        yield Reading(config.n_layer, "model", "weight_grad", "grad_norm", math.sqrt(total))


def _prescribed(config: GPTConfig, rule: Rule) -> Iterator[Reading]:
    for parameter in all_parameters(config):
        std = rule.draw(parameter.site).std
        yield Reading(parameter.site.layer, parameter.label, "weight", "rule_std", std)
