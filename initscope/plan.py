"""What a measurement is to do, and the weights that it draws on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from initscope.config import GPTConfig
from initscope.construction import Allocation, fillings
from initscope.draws import Drawer
from initscope.readout import Key
from initscope.recall import unread
from initscope.recorder import Recorder
from initscope.rules.core import Rule
from initscope.sites import Parameter, block_parameters, embedding_parameters, head_parameters

WORKING = 3  # blocks that a crew works on at once
WORKING_BYTES = 1 << 30  # what they may take; larger ones are busy enough one at a time

OUTPUT_BYTES = 144 << 20  # of linear maps' outputs kept for backward, beside the boundaries

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


def remembered_layers(config: GPTConfig, item: int, tokens: int) -> int:
    """Return how many layers' outputs of linear maps are kept from forward to backward.

    They take no more than the blocks that are worked on, whatever the depth.
    """
    budget = min(OUTPUT_BYTES, WORKING * block_bytes(config, item))
    return min(config.n_layer, budget // output_bytes(config, item, tokens))


def output_bytes(config: GPTConfig, item: int, tokens: int) -> int:
    """Return the size of the outputs of a block's linear maps that backward needs."""
    maps = (p for p in block_parameters(config, 0) if len(p.shape) == 2)
    return item * tokens * sum(p.shape[0] for p in maps if p.label not in unread(config))


def needed_bytes(
    config: GPTConfig, item: int, tokens: int, *, keep_bytes: int, backward: bool
) -> int:
    """Estimate the peak: what surrounds the blocks, some blocks and what backward is kept."""
    ends = [*embedding_parameters(config), *head_parameters(config)]
    weights = sum(math.prod(p.shape) for p in ends)
    block = block_bytes(config, item)
    blocks = (1 + working_blocks(config, item)) * block + min(keep_bytes, config.n_layer * block)
    boundaries = config.n_layer if backward else 0
    activations = tokens * (config.n_embd * (boundaries + 16) + 6 * config.d_ff)
    outputs = output_bytes(config, item, tokens) if backward else 0
    remembered = remembered_layers(config, item, tokens) * outputs
    return (weights + activations) * item + blocks + remembered


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one streamed pass is to do.

    Args:
        config: the model's shape.
        rule: how its parameters are drawn.
        allocation: device and dtype of weights and activations.
        backward: whether to measure gradients too.
        keep_bytes: memory for blocks kept between the directions instead of being drawn twice;
            the readings are the same to the last bit.
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
