"""How much must be drawn and multiplied to measure a model: counted, not timed."""

from __future__ import annotations

import math
from typing import NamedTuple

from benchmarks.rates import Rates
from initscope.config import GPTConfig
from initscope.plan import kept
from initscope.sites import Parameter, block_parameters, embedding_parameters, head_parameters

# The matrices of a block, those together that read the same input.
READERS = (("q", "k", "v"), ("attn_out",), ("mlp_gate", "mlp_up"), ("mlp_down",))


class Work(NamedTuple):
    """Float32 bytes to draw, and floating-point operations of products."""

    drawn: float
    flops: float

    def seconds(self, rates: Rates) -> float:
        """Return the least time at these rates, if drawing and products use the same cores."""
        return self.drawn / rates.drawn + self.flops / rates.flops


def once(config: GPTConfig, tokens: int) -> Work:
    """Count what no engine can do without.

    Each weight is drawn once. A block is multiplied forward and, for the gradients of what its
    products read, backward; the norms of its weights' own gradients take the cheaper of two
    orders. So is the head.
    """
    blocks, ends = _drawn(config)
    through = 2 * _matrices(config, tokens) + 3 * _attention(config, tokens)
    return Work(4.0 * (blocks + ends), through + _norms(config, tokens) + _head(config, tokens))


def streamed(config: GPTConfig, tokens: int) -> Work:
    """Count what an engine cannot do without that holds one block's weights at a time.

    Every block but the last is drawn again on the way back and run forward again, but for its
    last product, whose output nobody reads, and in some layers for the others, whose were kept.
    """
    least, (blocks, _) = once(config, tokens), _drawn(config)
    unread = 2.0 * tokens * config.n_layer * config.n_embd * config.d_ff
    unknown = 1 - kept(config, 4, tokens).outputs / config.n_layer
    again = (_matrices(config, tokens) - unread) * unknown + _attention(config, tokens)
    second = 4 * blocks * (config.n_layer - 1) / config.n_layer
    return Work(least.drawn + second, least.flops + again)


def _drawn(config: GPTConfig) -> tuple[int, int]:
    """Count the entries of the blocks' parameters and of what surrounds them."""
    block = sum(map(_size, block_parameters(config, 0)))
    ends = [*embedding_parameters(config), *head_parameters(config)]
    return config.n_layer * block, sum(map(_size, ends))


def _size(parameter: Parameter) -> int:
    return math.prod(parameter.shape)


def _matrices(config: GPTConfig, tokens: int) -> float:
    """Count the products of all blocks' matrices with their inputs."""
    entries = sum(_size(p) for p in block_parameters(config, 0) if len(p.shape) == 2)
    return config.n_layer * 2.0 * tokens * entries


def _attention(config: GPTConfig, tokens: int) -> float:
    """Count the products q·k and p·v, of which a causal mask leaves half."""
    return config.n_layer * 2.0 * tokens * tokens * config.n_embd


def _norms(config: GPTConfig, tokens: int) -> float:
    """Count GᵀX, or GGᵀ and XXᵀ: symmetric, so half, and XXᵀ once for those that read one X."""
    shapes = {p.path.split(".")[0]: p.shape for p in block_parameters(config, 0)}
    total = 0.0
    for names in READERS:
        fan_outs = [shapes[name][0] for name in names if name in shapes]
        fan_in = shapes[names[-1]][1]
        whole = 2.0 * tokens * fan_in * sum(fan_outs)
        total += min(whole, float(tokens**2 * (fan_in + sum(fan_outs))))
    return config.n_layer * total


def _head(config: GPTConfig, tokens: int) -> float:
    """Count the logits, the gradient of their input, and the norm of the weight's gradient."""
    one = 2.0 * tokens * config.n_embd * config.vocab_size
    gram = float(tokens**2 * config.vocab_size)
    return 2 * one + min(one, gram)
