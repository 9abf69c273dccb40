"""Who writes to which memory: every operation in a stretch of code, by the storage it changes.

A tensor's storage outlives the tensor objects that share it (a parameter, its ``.data``, a view),
and so is what writes are kept by. Storages are held by weak references: their memory is freed as
ever, and no new one is mistaken for them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath
from types import FrameType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from initscope.provenance import Write
from initscope.provenance.result import Kind

# The code between a model's own and the memory: PyTorch, what transformers wraps round
# torch.nn.init, and what builds a model here.
_INSIDE = (
    "torch", "transformers.initialization", "initscope.auditing", "initscope.ledger",
    "initscope.own", "initscope.target",
)  # fmt: skip
_RESETS = frozenset({"reset_parameters", "_reset_parameters", "_fill_padding_idx_with_zero"})
_OVERWRITING = frozenset({
    "normal_", "uniform_", "fill_", "zero_", "copy_", "random_", "exponential_", "cauchy_",
    "log_normal_", "geometric_", "bernoulli_",
})  # fmt: skip
_RESHAPING = frozenset({
    "t_", "transpose_", "squeeze_", "unsqueeze_", "as_strided_", "detach_", "resize_", "set_",
})  # fmt: skip
_COPYING = frozenset({"_to_copy", "clone", "detach", "contiguous", "lift_fresh", "alias"})


class Origin(NamedTuple):
    """Where an operation was called: the function, its line, and PyTorch's functions between."""

    by: str
    where: str
    default: str
    init: FrameType | None


def origin(frame: FrameType | None) -> Origin:
    """Walk out of PyTorch to the nearest function of the model's code."""
    default, init, inner = "", None, True
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not _inside(module):
            break
        if module == "torch.nn.init" and inner:
            init = frame
        elif frame.f_code.co_name in _RESETS and module.startswith("torch.nn."):
            default, inner = frame.f_code.co_qualname, False
        frame = frame.f_back
    if frame is None:
        return Origin(default or "unknown", "", default, init)
    file = PurePath(frame.f_code.co_filename).name
    by = frame.f_code.co_qualname.replace("<locals>.", "")
    return Origin(by, f"{file}:{frame.f_lineno}", default, init)


def _inside(module: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in _INSIDE)


def _cut(init: FrameType | None) -> float:
    """Return the truncation that trunc_normal_ was asked for, in standard deviations."""
    if init is None or init.f_code.co_name != "trunc_normal_":
        return math.inf
    given = init.f_locals
    mean, std = float(given["mean"]), float(given["std"])
    nearest = min(abs(float(given["a"]) - mean), abs(float(given["b"]) - mean))
    return nearest / std if std else math.inf


class Ledger(TorchDispatchMode):
    """Notes every write while it is entered; :meth:`writes` gives those to one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._log: dict[int, tuple[StorageWeakRef, list[Write]]] = {}
        # One call of torch.nn.init is one write to each tensor. Its frame is kept meanwhile, so
        # that no other is taken for it.
        self._init: FrameType | None = None
        self._written: set[int] = set()
        self._threads = torch.get_num_threads()

    def __enter__(self) -> Self:
        """Watch this thread, and let the built-in GPT draw its weights in it."""
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        return super().__enter__()

    def writes(self, tensor: Tensor) -> tuple[Write, ...] | None:
        """Return the writes to a tensor, oldest first; None if its memory came from elsewhere."""
        log = self._of(tensor)
        if log is None:
            return None
        part = _entries(tensor) / max(tensor.numel(), 1)  # of a storage that several tensors share
        return tuple(replace(write, share=min(1.0, write.share * part)) for write in log)

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - any operation of torch's
        _types: object,
        args: Any = (),  # noqa: ANN401 - and its arguments
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run an operation, and note what it wrote."""
        kwargs = kwargs or {}
        changed = list(_changed(func, args, kwargs))
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if changed:
            self._note(name, changed)
        else:
            self._create(name, [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)],
                         [x for x in tree_leaves(out) if isinstance(x, Tensor)])  # fmt: skip
        return out

    def __exit__(self, *error: object) -> None:
        """Let go of the last frame."""
        self._init = None
        torch.set_num_threads(self._threads)
        super().__exit__(*error)

    def _of(self, tensor: Tensor) -> list[Write] | None:
        storage = _storage(tensor)
        known = self._log.get(storage) if storage is not None else None
        return known[1] if known is not None else None

    def _begin(self, tensor: Tensor, writes: list[Write]) -> None:
        storage = _storage(tensor)
        if storage is not None:
            self._log[storage] = StorageWeakRef(tensor.untyped_storage()), writes

    def _note(self, name: str, changed: list[Tensor]) -> None:
        found = origin(sys._getframe())  # noqa: SLF001 - no public way to the caller
        if found.init is None or found.init is not self._init:
            self._init, self._written = found.init, set()
        for tensor in changed:
            storage, log = _storage(tensor), self._of(tensor)
            if log is None:
                self._begin(tensor, log := [])
            if storage is not None and storage not in self._written:
                _append(log, _write(name, found, tensor))
                self._written.add(storage)

    def _create(self, name: str, given: list[Tensor], made: list[Tensor]) -> None:
        for tensor in made:
            source = next((log for x in given if (log := self._of(x)) is not None), None)
            if self._of(tensor) is not None and any(_storage(x) == _storage(tensor) for x in given):
                continue  # a view
            if name.startswith(("empty", "new_empty")):
                self._begin(tensor, [])
            elif name in _COPYING and source is not None:
                self._begin(tensor, list(source))
            else:
                by, where, default, _ = origin(sys._getframe())  # noqa: SLF001 - as above
                how = "tensor" if name == "lift_fresh" else name
                write = Write(by=by, where=where, how=how, kind="created", default=default)
                self._begin(tensor, [write])


def _storage(tensor: Tensor) -> int | None:
    try:
        return tensor.untyped_storage()._cdata  # noqa: SLF001 - no public identity
    except NotImplementedError:  # a subclass that holds none
        return None


def _entries(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def _changed(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:  # noqa: ANN401
    """Yield the arguments that an operation's schema says it writes to."""
    if func.overloadpacket.__name__ in _RESHAPING:
        return
    for place, argument in enumerate(func._schema.arguments):  # noqa: SLF001 - no public view
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from (x for x in tree_leaves(given) if isinstance(x, Tensor))


def _write(name: str, found: Origin, tensor: Tensor) -> Write:
    kind: Kind = "draw" if found.init is not None or name in _OVERWRITING else "change"
    whole = _entries(tensor)
    return Write(
        by=found.by, where=found.where, kind=kind, default=found.default,
        how=found.init.f_code.co_name if found.init is not None else name,
        share=tensor.numel() / whole if whole else 1.0, cut=_cut(found.init), dims=tensor.dim(),
    )  # fmt: skip


def _append(log: list[Write], write: Write) -> None:
    """Add a write; the parts of a tensor that one line writes in turn are one write."""
    before = log[-1] if log else None
    if (
        before is not None and before.share < 1 and before.share + write.share <= 1 + 1e-9
        and replace(before, share=write.share) == write
    ):  # fmt: skip
        log[-1] = replace(before, share=before.share + write.share)
    else:
        log.append(write)
