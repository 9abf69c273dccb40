"""Where the claims are measured: one narrow model at three depths, each rule measured once."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from initscope import growth
from initscope.config import GPTConfig
from initscope.construction import build
from initscope.gpt import GPT
from initscope.judging import judge
from initscope.options import Options
from initscope.profile import Profile
from initscope.rules import Rule, config_for, get_rule
from initscope.sites import all_parameters
from initscope.sweep import inspect
from initscope.verdict import Class

SHAPE: dict[str, Any] = {"n_layer": 48, "n_embd": 128}
SEEDS = 3
SIGMAS = 5  # sampling errors within which a std is taken for the one it is compared with


class Bench:
    """Measures rules in one shape, at its depth and at a half and a quarter of it."""

    def __init__(self, seeds: int = SEEDS, **shape: Any) -> None:  # noqa: ANN401 - of any type
        self.options = Options(seeds=seeds, forward_only=True, device="cpu")
        self.shape = {**SHAPE, **shape}
        self.profile = cache(self._profile)

    @property
    def depth(self) -> int:
        """The depth that is asked about."""
        return int(self.shape["n_layer"])

    def config(self, rule: str | Rule = "nanogpt", **fields: object) -> GPTConfig:
        """Return the shape that a rule is measured in."""
        return config_for(rule, **self.shape, **fields)

    def model(self, *, bias: bool = False) -> GPT:
        """Return nanoGPT with one block, to look at its modules."""
        return build(self.config(bias=bias).at_depth(1))

    def _profile(self, rule: str | Rule, **fields: object) -> Profile:
        return inspect(self.config(rule, **fields), rule, self.options)

    def depths(self) -> list[int]:
        """Name the depths, the deepest last."""
        return self.options.depths(self.config())

    def std(self, rule: str, label: str, depth: int | None = None) -> float:
        """Return the std that a parameter was drawn with, its layers and seeds together."""
        values = self.profile(rule).select(label, "weight", "variance", n_layer=depth)
        return math.sqrt(values.to_numpy().mean())

    def has_std(self, rule: str, label: str, std: float, depth: int | None = None) -> bool:
        """Whether a parameter was drawn with this std, within the sampling error."""
        listed = all_parameters(self.config(rule).at_depth(depth or self.depth))
        count = sum(math.prod(p.shape) for p in listed if p.label == label)
        error = SIGMAS / math.sqrt(2 * count * self.options.seeds)
        return abs(self.std(rule, label, depth) / std - 1) <= error

    def final(self, rule: str) -> float:
        """Return the variance of the stream after the last block, averaged over seeds."""
        return float(growth.final_values(self.profile(rule)).iloc[-1].mean())

    def growth(self, rule: str) -> float:
        """Return by how much the variance grows from the embedding to the end of the blocks."""
        profile = self.profile(rule)
        return growth.left(profile, "forward", growth.final_values(profile))

    def exponent(self, rule: str) -> str:
        """Write the power of the depth with which the final variance goes."""
        estimate = growth.depth_exponent(self.profile(rule))
        assert estimate is not None
        return growth.exponent(estimate.value)

    def word(self, rule: str) -> Class:
        """Return what the stream does."""
        return judge(self.profile(rule)).forward

    def prescribed(self, rule: str, label: str, depth: int | None = None) -> float:
        """Return the std that a rule's formula gives a parameter where it first occurs."""
        listed = all_parameters(self.config(rule).at_depth(depth or self.depth))
        return get_rule(rule).draw(next(p.site for p in listed if p.label == label)).std
