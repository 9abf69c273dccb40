"""What kind of module it is, and which of a call's tensors is the signal."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


def tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in arguments or outputs, in order; dataclasses and mappings too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)


def first_activation(*values: object) -> Tensor | None:
    """Return the first floating tensor of two dimensions or more: the stream, of a block."""
    found = (x for value in values for x in tensors(value))
    return next((x for x in found if x.is_floating_point() and x.dim() > 1), None)


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises: torch's norms, and leaves that are called so."""
    leaf = not any(True for _ in module.children())
    return leaf and "norm" in type(module).__name__.lower()


def is_box(module: nn.Module) -> bool:
    """Whether a module maps features by a matrix of its own, and holds none that does."""
    if isinstance(module, nn.Embedding | nn.Conv1d) or is_norm(module):
        return False
    own = any(p is not None and p.dim() > 1 for p in module._parameters.values())  # noqa: SLF001
    return own and not any(is_box(child) for child in module.children())
