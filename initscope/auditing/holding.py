"""A model's tensors as an audit holds them: once each, with their writes and statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from initscope.ledger import Ledger
from initscope.origin.sample import Sample
from initscope.provenance import Held
from initscope.sampling import sample

Labels = Mapping[str, tuple[str, int]]  # (label, layer) by path


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def held(model: nn.Module, ledger: Ledger, labels: Labels) -> Iterator[Held]:
    """Yield every tensor once, with all the paths to it, parameters first."""
    paths: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for path, tensor in _tensors(model):
        paths.setdefault(id(tensor), []).append(path)
        tensors[id(tensor)] = tensor
    for key, tensor in tensors.items():
        named = next((labels[path] for path in paths[key] if path in labels), None)
        label, layer = named if named is not None else (paths[key][0], -1)
        owner = model.get_submodule(paths[key][0].rpartition(".")[0])
        yield Held(
            paths=tuple(paths[key]), label=label, layer=layer, shape=tuple(tensor.shape),
            writes=ledger.writes(tensor), sample=measured(tensor),
            buffer=not isinstance(tensor, nn.Parameter),
            convolution=isinstance(owner, nn.modules.conv._ConvNd),  # noqa: SLF001 - their base
        )  # fmt: skip


def measured(tensor: Tensor) -> Sample | None:
    """Return the statistics of a tensor of any kind; None of one without entries."""
    if tensor.numel() == 0 or tensor.is_meta:
        return None
    real = tensor.real if tensor.is_complex() else tensor
    return sample(real if real.is_floating_point() else real.float())
