"""A model without its weights: its modules and buffers as ever, its parameters on ``meta``.

Unlike ``torch.device("meta")`` it leaves everything else real: rotary tables and masks, which no
checkpoint holds, and numbers that a constructor computes from tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook


@contextmanager
def weightless(*, vectors: bool = False) -> Iterator[None]:
    """Give parameters no memory as modules register them; they keep their identity.

    Whatever initialises them then runs without effect.

    Args:
        vectors: whether those of one dimension or none (gains, biases) stay real.
    """

    def empty(_module: nn.Module, _name: str, parameter: nn.Parameter) -> None:
        if not parameter.is_meta and not (vectors and parameter.dim() < 2):
            become(parameter, torch.empty_like(parameter, device="meta"))

    handle = register_module_parameter_registration_hook(empty)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        handle.remove()


def become(parameter: nn.Parameter, tensor: torch.Tensor) -> None:
    """Give a parameter another tensor, of any device and dtype; every reference to it holds.

    ``.data`` takes none of another device.
    """
    attributes = dict(vars(parameter))
    other = nn.Parameter(tensor.detach(), requires_grad=parameter.requires_grad)
    torch.utils.swap_tensors(parameter, other)
    vars(parameter).update(attributes)
