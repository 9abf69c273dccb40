"""What fills a block that comes and goes: a checkpoint, a rule, or the model itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from initscope.anatomy import Anatomy
from initscope.construction import Allocation
from initscope.draws import generator_seed
from initscope.origin.sample import Sample
from initscope.own.paging import Fill, Page, Paging
from initscope.redraw import Redrawn, draw
from initscope.restore import Restoring
from initscope.sampling import sample
from initscope.skeleton import become

PLAIN_STD = 0.02  # of the weights with which the parts of a model are found


def from_checkpoint(fit: Restoring) -> Fill:
    """Fill blocks with the tensors of a checkpoint."""

    def fill(_block: nn.Module, page: Page) -> None:
        for path, parameter in page.items():
            parameter.copy_(fit.read(path))

    return fill


def plain(_block: nn.Module, page: Page) -> None:
    """Fill a block with numbers that serve to find its parts, whatever it will be drawn by."""
    for parameter in page.values():
        parameter.normal_(std=PLAIN_STD, generator=torch.Generator(parameter.device).manual_seed(0))


def from_rule(anatomy: Anatomy, redrawn: Redrawn, seed: int, before: Fill | None) -> Fill:
    """Fill blocks with a rule's draw, ``before`` that with their own where any of it stays."""

    def fill(block: nn.Module, page: Page) -> None:
        if before is not None:
            before(block, page)
        here = {id(parameter) for parameter in page.values()}
        draw(anatomy, [one for one in redrawn.mapped if id(one.found.parameter) in here], seed)

    return fill


# --- the model's own initialisation ---


class OwnInit:
    """Initialises a part of a model as its whole is: ``reset_parameters``, then ``_init_weights``.

    Vectors are left as the model's constructor made them: they were never without memory.
    """

    def __init__(self, model: nn.Module, paging: Paging, seed: int) -> None:
        self._model, self._paging, self._seed = model, paging, seed

    def ends(self, allocation: Allocation) -> None:
        """Give memory and weights to what is outside the blocks, whose own are still on meta.

        What it leaves without any number gets a plain one: a rule may draw it yet.
        """
        inside = {id(module) for block in self._paging.blocks for module in block.modules()}
        paged = self._paging.paths
        page = {path: p for path, p in self._model.named_parameters()
                if p.is_meta and path not in paged}  # fmt: skip
        give_memory(page.values(), allocation)
        outside = [module for module in self._model.modules() if id(module) not in inside]
        self._initialise(outside, page, "ends")
        plain(self._model, {path: p for path, p in page.items() if p.isnan().any()})

    def __call__(self, block: nn.Module, page: Page) -> None:
        """Initialise a block."""
        self._initialise(list(block.modules()), page, next(iter(page), ""))

    @torch.no_grad()
    def _initialise(self, modules: list[nn.Module], page: Page, name: str) -> None:
        for parameter in page.values():
            parameter.fill_(math.nan)
        kept = [(p, p.clone()) for module in modules for p in module.parameters(recurse=False)
                if not p.is_meta and p.dim() < 2]  # fmt: skip
        devices = {p.device.index or 0 for p in page.values() if p.device.type == "cuda"}
        with torch.random.fork_rng(sorted(devices)):
            torch.manual_seed(generator_seed(self._seed, 0, name, 0))
            for initialise in self._steps(modules):
                initialise()
        for parameter, before in kept:
            parameter.copy_(before)

    def _steps(self, modules: list[nn.Module]) -> Iterable[Callable[[], object]]:
        """Yield the calls that initialise modules, as ``Module.apply`` would: children first."""
        inner_first = [module for module in reversed(modules) if module is not self._model]
        for module in inner_first:
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                yield reset
        each = getattr(self._model, "_init_weights", None)
        if callable(each):
            for module in [*inner_first, *(m for m in modules if m is self._model)]:
                yield lambda module=module: each(module)  # type: ignore[misc]


def give_memory(parameters: Iterable[nn.Parameter], allocation: Allocation) -> None:
    """Take parameters off the meta device, with memory and any numbers."""
    for parameter in parameters:
        there = torch.empty(parameter.shape, dtype=allocation.dtype, device=allocation.device)
        become(parameter, there)


def differing(built: nn.Module, hollow: nn.Module, paging: Paging) -> str:
    """Return a parameter that a model's own initialisation draws otherwise as a whole; or "".

    ``built`` holds what its constructor drew, ``hollow`` is to be initialised by parts.
    """
    for path, parameter in hollow.named_parameters():
        if parameter.dim() > 1:
            paging.bring(parameter)
            if not _alike(sample(built.get_parameter(path)), sample(parameter)):
                return path
    return ""


ERRORS = 6  # standard errors that two draws of one distribution may lie apart


def _alike(a: Sample, b: Sample) -> bool:
    """Whether two samples can be of one distribution: its mean, its std, and its shape.

    The standard error of neither the mean in units of σ, nor ln σ, nor E|x|/σ (Geary 1935) exceeds
    1/√n for a normal, a truncated one or a uniform; that of a difference is √2 times as much.
    """
    if a.constant or b.constant:
        return (a.low, a.high) == (b.low, b.high)
    slack = ERRORS * math.sqrt(2 / a.count)
    return (
        b.finite
        and abs(a.mean - b.mean) < slack * a.std
        and abs(math.log(a.std / b.std)) < slack
        and abs(a.mean_abs / a.std - b.mean_abs / b.std) < slack
    )
