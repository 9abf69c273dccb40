"""Giving a GPT its memory and its weights: two calls, apart from the modules themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from initscope.config import GPTConfig
from initscope.draws import Drawer, Filling
from initscope.gpt import GPT, Block, Embedding, Head
from initscope.rules import get_rule
from initscope.rules.core import Rule
from initscope.sites import (
    Parameter,
    block_parameters,
    embedding_parameters,
    head_parameters,
    model_site,
)

M = TypeVar("M", bound=nn.Module)

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Allocation:
    """Where weights live, and in which dtype."""

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32

    def empty(self, make: Callable[[], M]) -> M:
        """Build a module without PyTorch's own initialisation, and allocate it once."""
        with torch.device("meta"):
            module = make()
        # Not Module.to_empty: what it does with a meta tensor loads half a second of PyTorch.
        for part in module.modules():
            for name, like in list(part.named_parameters(recurse=False)):
                there = torch.empty(like.shape, dtype=self.dtype, device=self.device)
                part.register_parameter(name, nn.Parameter(there))
        return module


def tie(config: GPTConfig, embedding: Embedding, head: Head) -> None:
    """Make the head's weight the token embedding, once both have their memory."""
    if config.tied:
        head.head.weight = embedding.wte.weight


def fillings(module: nn.Module, parameters: Iterable[Parameter], rule: Rule) -> list[Filling]:
    """Say how each of a module's parameters is drawn."""
    return [
        Filling(module.get_parameter(p.path).data, rule.draw(p.site), p.site.layer, p.path)
        for p in parameters
    ]


class Outside(NamedTuple):
    """The method's factors outside the blocks."""

    embed: float
    logits: float

    @classmethod
    def of(cls, config: GPTConfig, rule: Rule) -> Outside:
        """Ask the rule."""
        before, after = (rule.multipliers(model_site(config, at)) for at in (-1, config.n_layer))
        return cls(before.embed, after.logits)


def initialise(model: GPT, rule: str | Rule, seed: int = 0) -> GPT:
    """Draw every parameter of a model in place, and return it."""
    rule, config, drawer = get_rule(rule), model.config, Drawer(seed)
    drawer.fill(fillings(model.embedding, embedding_parameters(config), rule))
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        drawer.fill(fillings(block, block_parameters(config, layer), rule))
        block.set_multipliers(rule.multipliers(model_site(config, layer)))
    drawer.fill(fillings(model.unembedding, head_parameters(config), rule))
    model.embedding.multiplier, model.unembedding.multiplier = Outside.of(config, rule)
    return model


def build(
    config: GPTConfig,
    rule: str | Rule = "nanogpt",
    seed: int = 0,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GPT:
    """Return the GPT that :func:`initscope.inspect` measures, as a module you can train.

    Raises:
        UsageError: for an unknown rule.
    """
    model = Allocation(torch.device(device), dtype).empty(lambda: GPT(config))
    tie(config, model.embedding, model.unembedding)
    return initialise(model, rule, seed)
