"""What a measurement is to do, and the weights that it draws on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from initscope.config import GPTConfig
from initscope.construction import Allocation, fillings
from initscope.draws import Drawer, chunk_size, divisible
from initscope.loss import KEPT_BYTES
from initscope.readout import Key
from initscope.recall import unread
from initscope.recorder import Recorder
from initscope.rules.core import Draw, Rule
from initscope.sites import Parameter, block_parameters, embedding_parameters, head_parameters

WORKING = 3  # blocks that a crew works on at once
WORKING_BYTES = 1 << 30  # what they may take; larger ones are busy enough one at a time

OUTPUT_BYTES = 192 << 20  # of linear maps' outputs kept for backward, beside the boundaries

SLICE = 3  # chunks of a table of tokens drawn at a time: on the CPU, what its caches hold

Progress = Callable[[str], None]
Finish = Callable[[], None]


def _silent(_direction: str) -> None:
    """Report no progress."""


def block_bytes(config: GPTConfig, item: int) -> int:
    """Return the size of a block's weights, of ``item`` bytes each."""
    return item * sum(math.prod(p.shape) for p in block_parameters(config, 0))


def working_blocks(config: GPTConfig, item: int) -> int:
    """Return how many blocks hold weights at once where a crew can work on them."""
    return WORKING if WORKING * block_bytes(config, item) <= WORKING_BYTES else 1


class Kept(NamedTuple):
    """Of how many layers, the last ones, backward need not compute again what forward had."""

    outputs: int  # of linear maps
    weights: int


def kept(config: GPTConfig, item: int, tokens: int, keep_bytes: int = 0) -> Kept:
    """Divide memory: outputs first, which spare eight times as much work a byte as weights.

    ``keep_bytes`` is what the user gives beyond :data:`OUTPUT_BYTES`.
    """
    each, room = output_bytes(config, item, tokens), OUTPUT_BYTES + keep_bytes
    outputs = min(config.n_layer, room // each)
    left = min(keep_bytes, room - outputs * each)
    return Kept(outputs, min(config.n_layer, left // block_bytes(config, item)))


def output_bytes(config: GPTConfig, item: int, tokens: int) -> int:
    """Return the size of the outputs of a block's linear maps that backward needs."""
    return item * tokens * sum(read_outputs(config).values())


def read_outputs(config: GPTConfig) -> dict[str, int]:
    """Return the width of the output of each linear map in a block whose output backward needs."""
    maps = (p for p in block_parameters(config, 0) if len(p.shape) == 2)
    return {p.label: p.shape[0] for p in maps if p.label not in unread(config)}


def rows_at_once(table: Parameter, draw: Draw, device: torch.device) -> int:
    """Return how many rows of a table (V, C) are drawn at a time: all where it is small."""
    some = max(1, SLICE * chunk_size(device) // table.shape[1])
    return min(table.shape[0], some) if divisible(draw) else table.shape[0]


def needed_bytes(
    config: GPTConfig, rule: Rule, allocation: Allocation, tokens: int, *,
    keep_bytes: int, backward: bool,
) -> int:  # fmt: skip
    """Estimate the peak: what surrounds the blocks, some blocks and what backward is kept."""
    item = allocation.dtype.itemsize
    ends = [*embedding_parameters(config), *head_parameters(config)]
    tables = [p for p in ends if p.site.role in {"wte", "head"}]
    drawn = {p.path: rows_at_once(p, rule.draw(p.site), allocation.device) for p in tables}
    weights = sum(drawn.get(p.path, p.shape[0]) * math.prod(p.shape[1:]) for p in ends)
    block = block_bytes(config, item)
    working = (1 + working_blocks(config, item)) * block
    boundaries, between = config.n_layer, kept(config, item, tokens, keep_bytes)
    if not backward:
        boundaries, between = 0, Kept(0, 0)
    activations = tokens * (config.n_embd * (boundaries + 16) + 6 * config.d_ff)
    outputs = between.outputs * output_bytes(config, item, tokens)
    logits = min(KEPT_BYTES, 4 * tokens * config.vocab_size) if backward else 0
    held = outputs + between.weights * block + logits
    return (weights + activations) * item + working + held


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one streamed pass is to do.

    Args:
        config: the model's shape.
        rule: how its parameters are drawn.
        allocation: device and dtype of weights and activations.
        backward: whether to measure gradients too.
        keep_bytes: memory for what is kept between the directions instead of being computed or
            drawn twice; the readings are the same to the last bit.
        progress: called with ``"forward"`` or ``"backward"`` after each block.
    """

    config: GPTConfig
    rule: Rule
    allocation: Allocation
    backward: bool = True
    keep_bytes: int = 0
    progress: Progress = _silent


class Painter:
    """Allocates modules and draws their weights as the plan's rule says, beside other work."""

    def __init__(self, plan: Plan, seed: int, recorder: Recorder) -> None:
        self.plan, self.recorder = plan, recorder
        self.drawer = Drawer(seed, recorder.crew)

    def begin(self, module: nn.Module, parameters: Iterable[Parameter], *, audit: bool) -> Finish:
        """Begin to fill a module; return what waits for it.

        ``audit`` records the moments of what was drawn.
        """
        parameters = list(parameters)
        audit = audit and self.recorder.listens
        begun = self.drawer.begin(fillings(module, parameters, self.plan.rule), statistics=audit)

        def finish() -> None:
            parts = begun()
            for parameter in parameters if audit else ():
                key = Key(parameter.site.layer, parameter.label, "weight", "weight")
                for count, raw in parts[parameter.path]:
                    self.recorder.add(key, raw, count)

        return finish

    def draw(self, module: nn.Module, parameters: Iterable[Parameter], *, audit: bool) -> None:
        """Fill a module; see :meth:`begin`."""
        self.begin(module, parameters, audit=audit)()
