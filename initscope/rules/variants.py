"""Rules made from rules: the changes that a remedy tries, and zeros made visible."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from initscope.rules.core import EMBEDDINGS, RESIDUAL, Draw, Rule, Site


def vary(rule: Rule, name: str, change: Callable[[Site, Draw], Draw]) -> Rule:
    """Return the rule with each of its draws changed."""
    return dataclasses.replace(
        rule, name=f"{rule.name}+{name}", draw=lambda site: change(site, rule.draw(site))
    )


def times(draw: Draw, factor: float) -> Draw:
    """Return the draw with its spread multiplied; every kind's spread is linear in its scale."""
    return dataclasses.replace(draw, scale=draw.scale * factor)


def residual_scaled(rule: Rule) -> Rule:
    """Divide the weights that write to the stream by sqrt(2·n_layer), as GPT-2's paper does."""

    def change(site: Site, draw: Draw) -> Draw:
        return times(draw, (2 * site.n_layer) ** -0.5) if site.role in RESIDUAL else draw

    return vary(rule, "residual-scaled", change)


def quiet_head(rule: Rule) -> Rule:
    """Give token embedding and head a std of at most 0.5/sqrt(n_embd): logits of std 0.5."""

    def change(site: Site, draw: Draw) -> Draw:
        want = 0.5 / math.sqrt(site.n_embd)
        loud = site.role in EMBEDDINGS - {"wpe"} and draw.std > want
        return times(draw, want / draw.std) if loud else draw

    return vary(rule, "quiet-head", change)


def zeros_perturbed(rule: Rule, std: float) -> Rule:
    """Draw every matrix that the rule sets to 0 from N(0, std) instead.

    A rule that zeroes its projections says nothing at step 0; Adam's first step moves each
    entry by about the learning rate, so that is the std to look with.
    """

    def change(site: Site, draw: Draw) -> Draw:
        matrix = site.role not in {"norm_gain", "norm_bias", "bias"}
        return Draw.normal(std) if matrix and draw.std == 0 and draw.mean == 0 else draw

    return vary(rule, "zeros-perturbed", change)
