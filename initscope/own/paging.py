"""A model of whose blocks one at a time has weights.

A block gets them just before it runs, and lets them go when another one needs its own. It is
checkpointed: of its activations the input is kept, and the backward pass runs it again, with its
weights brought back, before it differentiates it. The engine differentiates all of one block
before any of the one below, so that one block at a time is enough there too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from initscope.anatomy import find_blocks, unwrap
from initscope.construction import Allocation
from initscope.skeleton import become

Page = Mapping[str, nn.Parameter]  # a block's parameters by their paths in the model
Fill = Callable[[nn.Module, Page], None]


class Paging:
    """Gives weights to the blocks of a model whose parameters are on the meta device.

    A parameter that a block shares with another, or with what is outside, is not among its own.

    Args:
        model: what was built without its weights; what is outside its blocks is left to others.
        blocks: the paths of its blocks, where they are not found.
        allocation: where weights live.
    """

    def __init__(self, model: nn.Module, blocks: str, allocation: Allocation) -> None:
        self._allocation = allocation
        found = [unwrap(module) for _, module in find_blocks(model, blocks)]
        self.blocks = list({id(block): block for block in found}.values())
        self.pages = _pages(model, self.blocks)
        self._home = {id(p): n for n, page in enumerate(self.pages) for p in page.values()}
        self._there: int | None = None
        self.fill: Fill = lambda _block, _page: None

    @property
    def paths(self) -> set[str]:
        """The paths of all parameters that come and go."""
        return {path for page in self.pages for path in page}

    def start(self) -> None:
        """Take the blocks' parameters off the meta device, without any memory of their own."""
        for number, (block, page) in enumerate(zip(self.blocks, self.pages, strict=True)):
            for parameter in page.values():
                become(parameter, _without_memory(parameter, self._allocation))
            block.forward = self._paged(number, block.forward)

    def bring(self, parameter: nn.Parameter) -> None:
        """Give a parameter, and with it its block, its values, where it does not keep them."""
        if id(parameter) in self._home:
            self._bring(self._home[id(parameter)])

    def _bring(self, number: int) -> None:
        if number == self._there:
            return
        if self._there is not None:
            _resize(self.pages[self._there], 0)
        self._there = number
        _resize(self.pages[number], 1)
        with torch.no_grad():
            self.fill(self.blocks[number], self.pages[number])

    def _paged(self, number: int, inner: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the block's own
            self._bring(number)
            return inner(*args, **kwargs)

        def forward(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if not torch.is_grad_enabled():
                return run(*args, **kwargs)
            return checkpoint(partial(run, **kwargs), *args, use_reentrant=False)

        return forward


def _pages(model: nn.Module, blocks: list[nn.Module]) -> list[Page]:
    holders: dict[int, set[int]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), set()).add(id(module))
    inside = [{id(module) for module in block.modules()} for block in blocks]
    paths = {id(p): path for path, p in model.named_parameters()}
    return [
        {paths[id(p)]: p for p in block.parameters() if p.is_meta and holders[id(p)] <= own}
        for block, own in zip(blocks, inside, strict=True)
    ]


def _without_memory(parameter: nn.Parameter, allocation: Allocation) -> torch.Tensor:
    tensor = torch.empty(parameter.shape, dtype=allocation.dtype, device=allocation.device)
    tensor.untyped_storage().resize_(0)
    return tensor


def _resize(page: Page, times: int) -> None:
    for parameter in page.values():
        size = parameter.numel() * parameter.element_size() * times
        parameter.untyped_storage().resize_(size)
