"""A whole model: its blocks' parts, what surrounds them, and what its parameters are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from initscope.anatomy.local import local
from initscope.anatomy.parts import Part, dissect
from initscope.anatomy.stack import find_blocks, unwrap
from initscope.anatomy.trace import Tracer, watch
from initscope.errors import UsageError

Named = tuple[str, nn.Module]


class Labelled(NamedTuple):
    """A parameter by its layer and what a profile calls it; ``path`` is the model's own name."""

    layer: int
    label: str
    path: str
    parameter: nn.Parameter


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What was found in a model; a block that runs several times counts as often."""

    model: nn.Module
    parts: tuple[Part, ...]
    width: int
    wte: Named | None = None
    wpe: Named | None = None
    norm_f: Named | None = None
    head: Named | None = None

    @property
    def n_layer(self) -> int:
        """How many blocks run."""
        return len(self.parts)

    @property
    def tied(self) -> bool:
        """Whether the head's weight is the token embedding's, or there is no other head."""
        weights = [getattr(named[1], "weight", None) for named in (self.wte, self.head) if named]
        return self.head is None or (len(weights) > 1 and weights[0] is weights[1])

    @cached_property
    def parameters(self) -> list[Labelled]:
        """Every parameter once, from the embedding to the head; what has no role by its path."""
        seen: set[int] = set()
        listed = [one for one in self._listed() if not (id(one.parameter) in seen
                  or seen.add(id(one.parameter)))]  # type: ignore[func-returns-value]  # fmt: skip
        return sorted(listed, key=lambda one: one.layer)

    def _listed(self) -> Iterator[Labelled]:
        outside = {
            id(named[1]): (label, layer)
            for label, layer, named in (
                ("wte", -1, self.wte), ("wpe", -1, self.wpe),
                ("norm_f", self.n_layer, self.norm_f), ("head", self.n_layer, self.head),
            )
            if named is not None
        }  # fmt: skip
        names = {id(module): path for path, module in self.model.named_modules()}
        for layer, part in enumerate(self.parts):
            root = names.get(id(part.module), part.path)
            for path, module, name, parameter in _own(part.module):
                label = _label(part.labels.get(module, ""), path, name)
                yield Labelled(layer, label, _join(root, path, name), parameter)
        for path, module, name, parameter in _own(self.model):
            label, layer = outside.get(id(module), ("", -1))
            yield Labelled(layer, _label(label, path, name), _join(path, name), parameter)


def _own(root: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    for path, module in root.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            yield path, module, name, parameter


def _label(label: str, path: str, name: str) -> str:
    """Name a parameter as profiles do: ``q``, ``q.bias``; by its path where it has no role."""
    if not label or name not in {"weight", "bias"}:
        return _join(path, name).removesuffix(".weight")
    return label if name == "weight" else f"{label}.{name}"


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def find(
    model: nn.Module, run: Callable[[], object], ids: Tensor | None = None, blocks: str = ""
) -> Anatomy:
    """Find a model's parts from one forward pass.

    Args:
        model: any module with a stack of blocks; wrappers are looked into.
        run: calls the model once.
        ids: the token ids it is called with, which tell the token embedding from others.
        blocks: the blocks' paths (``model.layers.*``) where they are not found.

    Raises:
        UsageError: where no block is found, or none of them runs.
    """
    model = unwrap(model)
    found = find_blocks(model, blocks)
    trace = watch(model, found, run)
    layers = [layer for layer in trace.layers if layer.width]
    if not layers:
        raise UsageError(
            f"the blocks {found[0][0]} … {found[-1][0]} did not run, or no tensor of "
            "(batch, tokens, width) passed them; --blocks 'model.layers.*' names others"
        )
    width = Counter(layer.width for layer in layers).most_common(1)[0][0]
    parts = tuple(dissect(layer) for layer in layers if layer.width == width)
    return Anatomy(model, parts, width, **_ends(trace, ids, width))


def _ends(trace: Tracer, ids: Tensor | None, width: int) -> dict[str, Named | None]:
    embeddings = [(path, module, given) for path, module, given in trace.before
                  if module.embedding_dim == width or len(trace.before) == 1]  # fmt: skip
    token = next((e for e in embeddings if ids is None or _same(e[2], ids)), None)
    other = next((e for e in embeddings if token is not None and e[1] is not token[1]), None)
    norms = [named for named in trace.after if "norm" in type(named[1]).__name__.lower()]
    boxes = [named for named in trace.after if named not in norms]
    largest = max((_rows(module) for _, module in boxes), default=0)
    return {
        "wte": token[:2] if token else None,
        "wpe": other[:2] if other else None,
        "norm_f": norms[-1] if norms else None,
        "head": next((named for named in boxes[::-1] if _rows(named[1]) == largest), None),
    }


def _rows(module: nn.Module) -> int:
    return max((max(p.shape) for p in module.parameters(recurse=False)), default=0)


def _same(given: Tensor | None, ids: Tensor) -> bool:
    return given is not None and given.shape == ids.shape and torch.equal(local(given), ids)
