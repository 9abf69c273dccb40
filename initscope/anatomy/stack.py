"""Finding a model's stack of blocks from its module tree alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from torch import nn

from initscope.errors import UsageError, unknown

Named = list[tuple[str, nn.Module]]

_WRAPPERS = ("_orig_mod", "module")  # torch.compile's, and that of DistributedDataParallel


def unwrap(model: nn.Module) -> nn.Module:
    """Return what a compiled or data-parallel wrapper holds: the module that was written."""
    while True:
        inner = next((model._modules[n] for n in _WRAPPERS if _wraps(model, n)), None)  # noqa: SLF001
        if inner is None:
            return model
        model = inner


def _wraps(model: nn.Module, name: str) -> bool:
    return list(model._modules) == [name] and not model._parameters  # noqa: SLF001 - no public view


def find_blocks(model: nn.Module, pattern: str = "") -> Named:
    """Return the blocks by path, in order.

    ``pattern`` names them (``model.layers.*``). Otherwise the stack is the outermost list of
    composite modules, or the largest group of children of one class, that holds the most
    parameters: an expert list lies inside a block, and a list of heads holds no composites.

    Raises:
        UsageError: where nothing matches, or nothing repeats.
    """
    if pattern:
        return _matching(model, pattern)
    groups = _outermost(list(_groups(model)))
    if not groups:
        raise UsageError(
            "no stack of blocks was found in the model: no list of modules repeats; "
            "--blocks 'model.layers.*' names it"
        )
    return max(groups, key=_size)


def _matching(model: nn.Module, pattern: str) -> Named:
    depth = pattern.count(".")
    named = dict(model.named_modules(remove_duplicate=False))
    found = [
        (path, module) for path, module in named.items()
        if path.count(".") == depth and fnmatchcase(path, pattern)
    ]  # fmt: skip
    if not found:
        lists = [f"{path}.*" for path, module in named.items() if isinstance(module, nn.ModuleList)]
        raise unknown("blocks", pattern, lists or ["nothing that repeats"])
    return found


def _groups(model: nn.Module) -> Iterator[Named]:
    for path, parent in model.named_modules():
        prefix = f"{path}." if path else ""
        children = [(prefix + name, child) for name, child in parent.named_children()]
        if isinstance(parent, nn.ModuleList | nn.Sequential | nn.ModuleDict):
            composite = [(name, child) for name, child in children if _composite(child)]
            if composite and len(composite) >= len(children) / 2:
                yield composite
        yield from _of_one_class(children)


def _of_one_class(children: Named) -> Iterator[Named]:
    for kind in dict.fromkeys(type(child) for _, child in children):
        same = [(name, child) for name, child in children if type(child) is kind]
        if len(same) > 1 and _composite(same[0][1]) and not isinstance(same[0][1], nn.ModuleList):
            yield same


def _composite(module: nn.Module) -> bool:
    """Whether a module has two children or more that hold parameters, as a block does."""
    module = unwrap(module)
    holding = [m for m in module.modules() if m is not module and m._parameters]  # noqa: SLF001
    return len(holding) > 1


def _outermost(groups: list[Named]) -> list[Named]:
    inside = [path + "." for group in groups for path, _ in group]
    return [g for g in groups if not any(g[0][0].startswith(prefix) for prefix in inside)]


def _size(group: Named) -> tuple[int, int]:
    return sum(p.numel() for p in _parameters(module for _, module in group)), len(group)


def _parameters(modules: Iterable[nn.Module]) -> Iterable[nn.Parameter]:
    return {id(p): p for module in modules for p in module.parameters()}.values()
