"""One forward pass, watched: which module's output every tensor in a block comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from initscope.anatomy.local import local
from initscope.anatomy.marks import (
    ACTIVATIONS,
    PRODUCTS,
    STREAM,
    BlockTrace,
    Call,
    Facts,
    Mark,
    in_place,
    union,
    view_of,
)
from initscope.anatomy.modules import first_activation, is_box, is_norm, tensors
from initscope.anatomy.replaced import Replaced
from initscope.anatomy.stack import Named, unwrap

NOTHING = Facts()
ADDITIONS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})


class Tracer(TorchFunctionMode):
    """Follows tensors through the model while it is entered; leaves no hook behind.

    ``blocks`` are followed inside; of the rest, the calls of norms, projections and embeddings
    before the first and after the last block are kept, in order.
    """

    def __init__(self, model: nn.Module, blocks: Named) -> None:
        super().__init__()
        self.layers: list[BlockTrace] = []
        self.before: list[tuple[str, nn.Module, Any]] = []
        self.after: list[tuple[str, nn.Module]] = []
        self._model = model
        self._blocks = {id(unwrap(module)): path for path, module in blocks}
        self._facts: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._current: BlockTrace | None = None
        self._counts: Counter[int] = Counter()
        self._handles: list[Any] = []
        self._replaced = Replaced()

    def __enter__(self) -> Self:
        """Register the hooks."""
        for path, module in self._model.named_modules():
            if id(module) in self._blocks:
                self._hook(module, self._enter_block, self._leave_block)
            else:
                call = _leaf_hook(self._leave, path)
                self._hook(module, self._count, call)
            self._handles += self._replaced.hook(module)
        return super().__enter__()

    def _hook(self, module: nn.Module, before: Callable[..., None], after: Any) -> None:  # noqa: ANN401
        self._handles += [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True),
        ]

    def _carry(self, now: object) -> None:
        """Know of a tensor what was known of the one whose place it has been given."""
        for before, after in self._replaced.pairs(now):
            if before in self._facts:
                self._facts.setdefault(after, self._facts[before])

    def __exit__(self, *error: object) -> None:
        """Remove the hooks, whatever happened."""
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)

    # --- operations ---

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - any operation of torch's
        _types: object,
        args: Any = (),  # noqa: ANN401 - and its arguments
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run an operation, and note what its output comes from."""
        name = getattr(func, "__name__", "")
        known = self._known((args, kwargs)) if self._current is not None else []
        residual = name in ADDITIONS and self._added(known)  # before an addition in place
        out = func(*args, **(kwargs or {}))
        if known and isinstance(out, Tensor | tuple | list):
            self._note(name, (args, kwargs), known, out)
        if residual and isinstance(out, Tensor):
            self._facts[out] = replace(self._facts[out], rms=_rms(out))
        return out

    def _known(self, given: object) -> list[tuple[Tensor, Facts]]:
        return [(x, self._facts[x]) for x in tensors(given) if x in self._facts]

    def _note(
        self, name: str, given: object, known: list[tuple[Tensor, Facts]], out: object
    ) -> None:
        if self._current is None:
            return
        facts = union([fact for _, fact in known], name)
        if name in ACTIVATIONS:
            act = _variant(name, given)
            self._current.activated.append((act, facts))
        if name == "scaled_dot_product_attention":
            self._attention(self._current, list(tensors(given))[:3])
        elif name in {"softmax", "_softmax"} and facts.scores:
            self._softmax(self._current, known[0][0], facts.scores)
        elif name in PRODUCTS and self._current.softmax and len(known) > 1:
            self._current.heads.setdefault("v", known[-1][1])
        for x in tensors(out):
            view = None if in_place(name) else view_of(known, x)
            self._facts[x] = view or facts

    def _attention(self, block: BlockTrace, qkv: list[Tensor]) -> None:
        for name, x in zip(("q", "k", "v"), qkv, strict=False):
            block.heads.setdefault(name, self._facts.get(x, NOTHING))
        block.softmax = True
        block.n_head = qkv[0].shape[-3]

    @staticmethod
    def _softmax(block: BlockTrace, logits: Tensor, scores: tuple[Facts, Facts]) -> None:
        block.heads.setdefault("q", scores[0])
        block.heads.setdefault("k", scores[1])
        block.softmax = True
        if not block.n_head and logits.dim() > 3:
            block.n_head = logits.shape[-3]

    def _added(self, known: list[tuple[Tensor, Facts]]) -> bool:
        """Note the factor of what is added to the stream, relative to that of the stream."""
        if len(known) != 2 or self._current is None:
            return False
        (stream, of_stream), (branch, of_branch) = sorted(known, key=lambda one: one[1].rms is None)
        if of_stream.rms is None or of_branch.on_stream:
            return False
        if len(of_branch.boxes) == 1:
            last = of_branch.norms[-1] if of_branch.norms else of_branch.boxes[0]
            if last.rms is not None:
                factor = _rms(branch) / last.rms / (_rms(stream) / of_stream.rms)
                self._current.added[of_branch.boxes[0]] = factor
        return True

    # --- modules ---

    def _enter_block(self, module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        self._facts = WeakIdKeyDictionary()
        self._counts = Counter()
        stream = first_activation(args, kwargs)
        path = self._blocks[id(module)]
        self._current = BlockTrace(path, module)
        if stream is not None:
            self._current.width = stream.shape[-1]
            self._facts[stream] = Facts(frozenset({STREAM}), rms=_rms(stream))

    def _leave_block(self, _module: nn.Module, _args: Any, _kwargs: Any, out: Any) -> None:  # noqa: ANN401
        self._carry(out)
        block, self._current = self._current, None
        end = first_activation(out)
        if block is not None and end is not None:
            block.end = self._facts.get(end, NOTHING)
            self.layers.append(block)
        self.after.clear()

    def _count(self, module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        self._carry((args, kwargs))
        self._counts[id(module)] += 1

    def _leave(self, path: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:  # noqa: ANN401
        self._carry(out)
        x, y = first_activation(args, kwargs), first_activation(out)
        if self._current is None:
            self._outside(path, module, args)
        elif x is not None and y is not None:
            self._inside(self._current, (path, module), (x, first_activation(args) is x), y)

    def _outside(self, path: str, module: nn.Module, args: Any) -> None:  # noqa: ANN401
        if isinstance(module, nn.Embedding) and not self.layers:
            self.before.append((path, module, next(tensors(args), None)))
        elif is_norm(module) or is_box(module):
            self.after.append((path, module))

    def _inside(
        self, block: BlockTrace, named: tuple[str, nn.Module], given: tuple[Tensor, bool], y: Tensor
    ) -> None:
        (path, module), (x, entered) = named, given
        facts = self._facts.get(x, NOTHING)
        norm = is_norm(module)
        if norm or is_box(module):
            relative = path.removeprefix(block.path + ".")
            call = Call(
                relative, module, self._counts[id(module)], norm, facts, y.shape[-1], y.numel(),
                entered, _rms(y),
            )  # fmt: skip
            block.calls.append(call)
            kept = facts.marks if norm else frozenset()
            rms = call.rms if norm and facts.on_stream else None
            marks = kept | {Mark(call)}
            self._facts[y] = Facts(marks, norm and facts.mixed, alias=not norm, rms=rms)
        elif y not in self._facts and facts.marks:
            self._facts[y] = facts


def _leaf_hook(method: Callable[..., None], path: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:  # noqa: ANN401
        method(path, module, args, kwargs, out)

    return hook


def _variant(name: str, given: Any) -> str:  # noqa: ANN401
    keywords = given[1] or {}
    if name == "gelu" and keywords.get("approximate") == "tanh":
        return "gelu_tanh"
    return ACTIVATIONS[name]


def _rms(x: Tensor) -> Tensor:
    x = local(x)
    return torch.linalg.vector_norm(x, dtype=torch.float32) / x.numel() ** 0.5


def watch(model: nn.Module, blocks: Named, run: Callable[[], object]) -> Tracer:
    """Run the model once without gradients and return what was seen."""
    tracer = Tracer(model, blocks)
    with torch.no_grad(), tracer:
        run()
    return tracer
