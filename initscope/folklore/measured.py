"""How each claim is measured, and what decides whether it is true."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

import torch

from initscope.config import GPTConfig
from initscope.folklore.bench import Bench
from initscope.gpt import ACTIVATIONS
from initscope.notation import count, number
from initscope.rules.core import RESIDUAL
from initscope.rules.gaussian import STD
from initscope.sites import all_parameters
from initscope.verdict import Class


class Truth(StrEnum):
    """What remains of a claim."""

    TRUE = "true"
    FALSE = "false"
    PARTLY = "partly"


class Answer(NamedTuple):
    """What a measurement says of a claim, and its numbers in a sentence."""

    truth: Truth
    measured: str


Measure = Callable[[Bench], Answer]

FEW = 0.1  # share of exact zeros, of which ReLU has a half
STEADY = 1.5  # a growth over the layers below it would be none


def _truth(*, holds: bool) -> Truth:
    return Truth.TRUE if holds else Truth.FALSE


def _residual_stds(bench: Bench, formula: Mapping[int, float]) -> bool:
    """Whether both residual weights of nanoGPT have these stds, by depth."""
    return all(
        bench.has_std("nanogpt", label, std, depth)
        for label in RESIDUAL for depth, std in formula.items()
    )  # fmt: skip


def residual_as(rule: str) -> Measure:
    """Compare nanoGPT's residual weights with a variant's, and the streams of the two."""

    def measure(bench: Bench) -> Answer:
        claimed = {depth: bench.prescribed(rule, "mlp_down", depth) for depth in bench.depths()}
        std = bench.std("nanogpt", "mlp_down")
        return Answer(
            _truth(holds=_residual_stds(bench, claimed)),
            f"std {number(std)} at {bench.depth} layers, where the claim gives "
            f"{number(claimed[bench.depth])}; "
            f"{_beside(bench, rule)}",
        )

    return measure


def _beside(bench: Bench, rule: str) -> str:
    """Say where a variant's stream ends, and where nanoGPT's."""
    return (
        f"`{rule}` ends at a variance of {number(bench.final(rule))} where nanoGPT ends at "
        f"{number(bench.final('nanogpt'))}, and goes as n_layer^{bench.exponent(rule)}: "
        f"{bench.word(rule)}"
    )


def residual_scaled(bench: Bench) -> Answer:
    """Compare the residual weights with 0.02/sqrt(2·n_layer) at every depth."""
    formula = {depth: STD / math.sqrt(2 * depth) for depth in bench.depths()}
    stds = [
        f"{number(bench.std('nanogpt', 'mlp_down', depth))} at {depth}" for depth in bench.depths()
    ]
    return Answer(
        _truth(holds=_residual_stds(bench, formula)),
        f"std {', '.join(stds)} layers; the formula gives {number(formula[bench.depth])} at "
        f"{bench.depth}",
    )


def narrow_mlp(bench: Bench) -> Answer:
    """Compare the MLP's first matrix with 0.02/sqrt(n_embd)."""
    claimed = bench.prescribed("folklore-ffn", "mlp_up")
    return Answer(
        _truth(holds=bench.has_std("nanogpt", "mlp_up", claimed)),
        f"std of c_fc {number(bench.std('nanogpt', 'mlp_up'))}, where the claim gives "
        f"{number(claimed)}; "
        f"{_beside(bench, 'folklore-ffn')}",
    )


def embeddings(bench: Bench) -> Answer:
    """Compare both embedding tables with 0.02."""
    same = all(bench.has_std("nanogpt", label, STD) for label in ("wte", "wpe"))
    token, position = (number(bench.std("nanogpt", label)) for label in ("wte", "wpe"))
    other = number(bench.prescribed("gpt2", "wpe"))
    return Answer(
        _truth(holds=same),
        f"std {token} for tokens and {position} for positions; GPT-2 as released (`gpt2`) has "
        f"{other} for positions",
    )


def tied_head(bench: Bench) -> Answer:
    """Ask a built model whether its head is its token embedding."""
    model = bench.model()
    weight, table = model.unembedding.head.weight, model.embedding.wte.weight
    return Answer(
        _truth(holds=weight is table),
        f"one tensor of {count(table.numel())} entries, std {number(weight.std().item())}",
    )


def norms(bench: Bench) -> Answer:
    """Look at the gains and the biases of a model that has both."""
    model = bench.model(bias=True)
    parts = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    gains = torch.cat([part.weight.detach() for part in parts])
    biases = torch.cat([part.bias.detach() for part in parts])
    return Answer(
        _truth(holds=bool(gains.eq(1).all() and biases.eq(0).all())),
        f"gains from {number(gains.min().item())} to {number(gains.max().item())}, biases from "
        f"{number(biases.min().item())} to {number(biases.max().item())}",
    )


def linear_biases(bench: Bench) -> Answer:
    """Count biases, in the linear layers and in the norms, with the flag and without it."""

    def biases(*, flag: bool) -> tuple[int, int]:
        listed = list(all_parameters(bench.config(bias=flag)))
        return tuple(  # type: ignore[return-value]
            sum(p.site.role == role for p in listed) for role in ("bias", "norm_bias")
        )

    (linear, norm), without = biases(flag=True), biases(flag=False)
    truth = Truth.PARTLY if linear and not without[0] else _truth(holds=not linear)
    return Answer(
        truth,
        f"{linear} biases in linear layers and {norm} in norms with `bias=True`, {without[0]} and "
        f"{without[1]} with `bias=False`",
    )


def gelu(bench: Bench) -> Answer:
    """Count exact zeros after the MLP's activation, and see how far the tanh form is off."""
    shares = {
        name: bench.profile("nanogpt", activation=name)
        .select("mlp_act", "forward", "zero_share").to_numpy().mean()
        for name in ("gelu", "relu")
    }  # fmt: skip
    x = torch.linspace(-6, 6, 12_001, dtype=torch.float64)
    off = (ACTIVATIONS["gelu"](x) - ACTIVATIONS["gelu_tanh"](x)).abs().max().item()
    exact = bench.config().activation == "gelu"
    return Answer(
        _truth(holds=exact and shares["gelu"] < FEW < shares["relu"]),
        f"{number(shares['gelu'])} of the hidden layer is exactly 0 (ReLU: "
        f"{number(shares['relu'])}); the tanh form of GPT-2 is off by {number(off)} at most",
    )


def no_growth(bench: Bench) -> Answer:
    """Follow the variance with the depth of the model, and over the layers of one."""
    over_layers, truth = bench.growth("nanogpt"), Truth.FALSE
    if bench.word("nanogpt") in {Class.BOUNDED, Class.ZERO}:
        truth = Truth.PARTLY if over_layers > STEADY else Truth.TRUE
    return Answer(
        truth,
        f"with the depth as n_layer^{bench.exponent('nanogpt')} (`nanogpt-flat`: "
        f"n_layer^{bench.exponent('nanogpt-flat')}), but ×{number(over_layers)} over the layers "
        f"of one model (`nanogpt-flat`: ×{number(bench.growth('nanogpt-flat'))})",
    )


def nanogpt_names(config: GPTConfig) -> Iterator[str]:
    """Yield the names that nanoGPT's model.py gives its parameters; a tied head has none."""
    matrices = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    kinds = ("weight", "bias") if config.bias else ("weight",)
    yield from ("transformer.wte.weight", "transformer.wpe.weight")
    for layer in range(config.n_layer):
        for part in ("ln_1", "ln_2", *matrices):
            yield from (f"transformer.h.{layer}.{part}.{kind}" for kind in kinds)
    yield from (f"transformer.ln_f.{kind}" for kind in kinds)


def misspelt_name(bench: Bench) -> Answer:
    """Count the names that hold ``cproj``, and those that end as the code wants it."""
    names = list(nanogpt_names(bench.config(bias=True)))
    inside = sum("cproj" in name for name in names)
    meant = sum(name.endswith("c_proj.weight") for name in names)
    return Answer(
        _truth(holds=inside == meant),
        f"of {len(names)} names {inside} hold `cproj` and {meant} end in `c_proj.weight`; without "
        f"the division the model is `nanogpt-flat`, whose variance goes as "
        f"n_layer^{bench.exponent('nanogpt-flat')}: {bench.word('nanogpt-flat')}",
    )


def warmup(_bench: Bench) -> Answer:
    """Point to the training run, which takes too long to be repeated here.

    Its table is in docs/folklore.md, and a test reads the verdict from it.
    """
    return Answer(Truth.PARTLY, "trained with and without, at four learning rates")
