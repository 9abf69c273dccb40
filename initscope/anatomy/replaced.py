"""What the hooks of others put in a tensor's place on its way into a module or out of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from initscope.anatomy.modules import tensors


class Replaced:
    """Knows what stood there before: tensor parallelism distributes inputs in such hooks."""

    def __init__(self) -> None:
        self._before: object = None

    def hook(self, module: nn.Module) -> list[Any]:
        """Register what comes before the hooks that are there, and return the handles."""
        return [
            module.register_forward_pre_hook(self._arrive, with_kwargs=True, prepend=True),
            module.register_forward_hook(self._leave, prepend=True),
        ]

    def _arrive(self, _module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        self._before = (args, kwargs)

    def _leave(self, _module: nn.Module, _args: Any, out: Any) -> None:  # noqa: ANN401
        self._before = out

    def pairs(self, now: object) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each tensor that was replaced and what stands in its place now."""
        for before, after in zip(tensors(self._before), tensors(now), strict=False):
            if before is not after:
                yield before, after
