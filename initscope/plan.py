"""What a measurement is to do, and the weights that it draws on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from initscope.config import GPTConfig
from initscope.construction import Allocation, fillings
from initscope.draws import Drawer
from initscope.readout import Key, Recorder
from initscope.rules.core import Rule
from initscope.sites import Parameter

Progress = Callable[[str], None]


def _silent(_direction: str) -> None:
    """Report no progress."""


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
        threads: threads that draw weights; 0 takes PyTorch's number.
        progress: called with ``"forward"`` or ``"backward"`` after each block.
    """

    config: GPTConfig
    rule: Rule
    allocation: Allocation
    backward: bool = True
    keep_bytes: int = 0
    threads: int = 0
    progress: Progress = _silent


class Painter:
    """Allocates modules and draws their weights as the plan's rule says."""

    def __init__(self, plan: Plan, seed: int, recorder: Recorder) -> None:
        self.plan, self.recorder = plan, recorder
        self.drawer = Drawer(seed, plan.threads)

    def draw(self, module: nn.Module, parameters: Iterable[Parameter], *, audit: bool) -> None:
        """Fill a module; ``audit`` records the moments of what was drawn."""
        parameters = list(parameters)
        audit = audit and self.recorder.listens
        parts = self.drawer.fill(fillings(module, parameters, self.plan.rule), statistics=audit)
        if not audit:
            return
        for parameter in parameters:
            key = Key(parameter.site.layer, parameter.label, "weight", "weight")
            for count, raw in parts[parameter.path]:
                self.recorder.add(key, raw, count)
