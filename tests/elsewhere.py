"""The same parameters, drawn by other people's code: torch.nn, torch.nn.init, mup and rezero."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from initscope.config import GPTConfig
from initscope.construction import build
from initscope.rules import Site
from initscope.sites import all_parameters

Weights = dict[tuple[int, str], Tensor]  # by layer and label
Source = Callable[[GPTConfig], Weights]
Init = Callable[[Tensor], Any]

STD = 0.02
ENDS = {"wte", "wpe", "head"}
RESIDUAL = {"attn_out", "mlp_down"}

normal = partial(nn.init.normal_, std=STD)
kaiming = partial(nn.init.kaiming_normal_, nonlinearity="relu")
fan_in = partial(nn.init.kaiming_normal_, nonlinearity="linear")


def truncated(std: float, cut: float) -> Init:
    return partial(nn.init.trunc_normal_, std=std, a=-cut * std, b=cut * std)


def filled(config: GPTConfig, init: Callable[[Site], Init]) -> Weights:
    """Fill every matrix as told for its site; gains with 1 and biases with 0."""
    vectors: dict[str, Init] = {
        "norm_gain": nn.init.ones_, "norm_bias": nn.init.zeros_, "bias": nn.init.zeros_
    }  # fmt: skip
    weights: Weights = {}
    for parameter in all_parameters(config):
        tensor = torch.empty(parameter.shape)
        (vectors.get(parameter.site.role) or init(parameter.site))(tensor)
        weights[parameter.site.layer, parameter.label] = tensor
    return weights


def matrices(init: Init, ends: Init = normal) -> Source:
    """Draw the blocks' matrices in one way, the embeddings and the head in another."""
    return lambda config: filled(config, lambda site: ends if site.role in ENDS else init)


def divided(init: Init, ends: Init) -> Source:
    """Draw likewise, then divide what writes to the stream by sqrt(2·n_layer)."""

    def scaled(site: Site) -> Init:
        return lambda weight: init(weight).div_(math.sqrt(2 * site.n_layer))

    def choose(site: Site) -> Init:
        return scaled(site) if site.role in RESIDUAL else ends if site.role in ENDS else init

    return lambda config: filled(config, choose)


def deepnet(site: Site) -> Init:
    """Xavier with gain β = (8 n_layer)^-1/4, but for queries and keys: DeepNet's figure 2."""
    if site.role in ENDS:
        return normal
    gain = 1.0 if site.role in {"q", "k"} else (8 * site.n_layer) ** -0.25
    return partial(nn.init.xavier_normal_, gain=gain)


def cerebras(site: Site) -> Init:
    std = STD / math.sqrt(2 * site.n_layer) if site.role in RESIDUAL else STD
    return truncated(std, 2)


def modules(config: GPTConfig) -> Weights:
    """Construct torch.nn's modules, which draw their own parameters."""
    weights: Weights = {}
    for parameter in all_parameters(config):
        site = parameter.site
        if site.role in {"wte", "wpe"}:
            module: nn.Module = nn.Embedding(parameter.shape[0], parameter.shape[1])
        elif site.role.startswith("norm"):
            module = nn.LayerNorm(parameter.shape[0])
        else:
            module = nn.Linear(site.fan_in, site.fan_out)
        weights[site.layer, parameter.label] = module.get_parameter(
            "bias" if parameter.label.endswith("bias") else "weight"
        )
    return weights


def rezero_layer(config: GPTConfig) -> Any:
    """Construct one layer of the authors' own package; without dropout, to compare outputs."""
    package: Any = pytest.importorskip("rezero.transformer")
    return package.RZTXEncoderLayer(config.n_embd, config.n_head, config.d_ff, dropout=0)


def rezero(config: GPTConfig) -> Weights:
    """Construct the authors' layers; their paper's model has embeddings of its own."""
    weights = matrices(normal)(config)
    for layer in range(config.n_layer):
        named = rezero_weights(rezero_layer(config))
        weights |= {(layer, name): tensor for name, tensor in named.items()}
    return weights


def rezero_weights(theirs: Any) -> dict[str, Tensor]:
    attention = theirs.self_attn
    named = dict(zip("qkv", attention.in_proj_weight.chunk(3), strict=True))
    biases = zip("qkv", attention.in_proj_bias.chunk(3), strict=True)
    named |= {f"{name}.bias": bias for name, bias in biases}
    for name, linear in {
        "attn_out": attention.out_proj, "mlp_up": theirs.linear1, "mlp_down": theirs.linear2
    }.items():  # fmt: skip
        named |= {name: linear.weight, f"{name}.bias": linear.bias}
    return named


BASE_WIDTH = 256


def mup(config: GPTConfig, residual: Callable[[GPTConfig], float] = lambda _config: 1.0) -> Weights:
    """Draw every matrix with mup.init.normal_, which knows the base model's shapes."""
    library: Any = pytest.importorskip("mup")
    fields = {name: value for name, value in config.to_dict().items() if name != "d_ff"}
    base, delta = (
        build(GPTConfig(**{**fields, "n_embd": width})) for width in (BASE_WIDTH, 2 * BASE_WIDTH)
    )
    model = library.set_base_shapes(
        build(config, "nanogpt"), base, delta=delta, rescale_params=False, do_assert=False
    )
    weights: Weights = {}
    for parameter in all_parameters(config):
        layer, path = parameter.site.layer, parameter.path
        inside = 0 <= layer < config.n_layer
        room = (
            model.blocks[layer] if inside else model.embedding if layer < 0 else model.unembedding
        )
        tensor = room.get_parameter(path)
        if tensor.dim() == 2:
            factor = residual(config) if parameter.site.role in RESIDUAL else 1.0
            library.init.normal_(tensor, std=STD * factor)
        weights[layer, parameter.label] = tensor
    return weights


def mup_divided(config: GPTConfig) -> Weights:
    return mup(config, lambda c: (2 * c.n_layer) ** -0.5)


# What these rules' own sources call, or say in words that torch.nn.init has a name for.
SOURCES: dict[str, Source] = {
    "xavier": matrices(nn.init.xavier_normal_),
    "xavier-uniform": matrices(nn.init.xavier_uniform_),
    "kaiming": matrices(kaiming),
    "lecun": matrices(fan_in),
    "orthogonal": matrices(nn.init.orthogonal_),
    "torch": modules,
    "rezero": rezero,
    "cerebras": lambda config: filled(config, cerebras),
    "olmo-normal": matrices(truncated(STD, 3), truncated(STD, 3)),
    "layerscale": matrices(partial(nn.init.trunc_normal_, std=STD)),
    "palm": matrices(fan_in, nn.init.normal_),
    "llm-foundry": divided(kaiming, kaiming),
    "deepnorm": lambda config: filled(config, deepnet),
    "mup": mup_divided,
    "completep": mup,
    "depth-mup": mup,
}
