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
from initscope.recorder import Recorder
from initscope.rules.core import Rule
from initscope.sites import Parameter, block_parameters

WORKING = 3  # blocks that a crew works on at once
WORKING_BYTES = 1 << 30  # what they may take; larger ones are busy enough one at a time

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
