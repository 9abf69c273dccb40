"""What a model is called with, and what it returns, whatever its conventions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from initscope.anatomy import unwrap
from initscope.anatomy.local import whole
from initscope.errors import UsageError

_IDS = ("input_ids", "ids", "idx", "tokens", "token_ids", "input", "inputs", "x")
_TARGETS = ("targets", "target", "y")  # the id that follows each input, as nanoGPT has it
_LABELS = "labels"  # the inputs themselves, which the model shifts, as transformers has it

_ADVICE = (
    "pass initscope.inspect(model, batch) a dictionary or tuple that the model is called with, "
    "or --batch-from module:function on the command line"
)


@dataclass
class Feed:
    """One call of a model; ``ids`` and ``targets`` (B, T) are known where token ids are given."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    ids: Tensor | None = None
    targets: Tensor | None = None

    def call(self, model: nn.Module) -> object:
        """Call the model."""
        return model(*self.args, **self.kwargs)

    @property
    def length(self) -> int:
        """The tokens of a sequence, 0 where no ids are given."""
        return self.ids.shape[1] if self.ids is not None else 0

    def counted(self) -> int:
        """Return how many tokens the loss is the mean of, less those that are left out.

        A target below 0 is left out: -1 is nanoGPT's, -100 that of PyTorch.
        """
        labels = self.kwargs.get(_LABELS)
        named = [self.kwargs[name] for name in _TARGETS if _is_ids(self.kwargs.get(name))]
        placed = [value for value in self.args if _is_ids(value)][1:]
        shifted = [labels[:, 1:]] if isinstance(labels, Tensor) and _is_ids(labels) else []
        known = [*named, *shifted, *placed, *([] if self.targets is None else [self.targets])]
        return int((known[0] >= 0).sum()) if known else self.rows()

    def rows(self) -> int:
        """Return how many sequences there are: of what the model is called with, in the first."""
        given = [*([] if self.ids is None else [self.ids]), *self.args, *self.kwargs.values()]
        return next((len(x) for x in given if isinstance(x, Tensor) and x.dim()), 1)


class Outcome(NamedTuple):
    """What a model returned: logits (…, V) where it has them, and the loss."""

    logits: Tensor | None
    loss: Tensor | None


def feed(model: nn.Module, batch: object) -> Feed:
    """Say how to call a model on a batch.

    Token ids (B, T + 1) become T inputs, each with the id that follows it; targets are passed
    where the model takes them. A dictionary or tuple is what the model is called with.

    Raises:
        UsageError: for a batch of another kind.
    """
    if isinstance(batch, Mapping):
        kwargs = {str(name): value for name, value in batch.items()}
        ids = next((kwargs[name] for name in _IDS if _is_ids(kwargs.get(name))), None)
        return _with_targets(Feed((), kwargs, ids))
    if isinstance(batch, tuple | list):
        ids = next((value for value in batch if _is_ids(value)), None)
        return _with_targets(Feed(tuple(batch), {}, ids))
    if not _is_ids(batch):
        raise UsageError(f"a batch is token ids (batch, tokens), not {_kind(batch)}; {_ADVICE}")
    assert isinstance(batch, Tensor)
    return _from_ids(model, batch)


def called(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Feed:
    """Describe a call that somebody makes; its token ids are known where there are any."""
    named = (kwargs.get(name) for name in _IDS)
    ids = next((value for value in (*args, *named) if _is_ids(value)), None)
    return Feed(args, dict(kwargs), ids)


def _with_targets(given: Feed) -> Feed:
    """Know the next ids of a batch that has inputs alone, should its model return no loss."""
    given.targets = None if given.ids is None else given.ids[:, 1:]
    return given


def _is_ids(value: object) -> bool:
    whole = isinstance(value, Tensor) and not value.is_floating_point()
    return whole and isinstance(value, Tensor) and value.dim() == 2


def _from_ids(model: nn.Module, ids: Tensor) -> Feed:
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    parameters = inspect.signature(unwrap(model).forward).parameters
    kwargs: dict[str, Any] = {}
    for name, parameter in list(parameters.items())[1:]:
        if name in _TARGETS:
            kwargs[name] = targets
        elif name == "use_cache":
            kwargs[name] = False
        elif parameter.default is parameter.empty and parameter.kind not in {
            parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD,
        }:  # fmt: skip
            raise UsageError(f"the model's forward also needs {name!r}; {_ADVICE}")
    return Feed((inputs,), kwargs, inputs, targets)


def understand(out: object, given: Feed) -> Outcome:
    """Find logits and loss in what a model returned, or make the loss from the logits.

    Raises:
        UsageError: where there is neither, or no loss can be made.
    """
    found = list(_named(out))
    loss = next((x for name, x in found if _is_loss(name, x)), None)
    logits = [x for name, x in found if x.is_floating_point() and x.dim() > 1 and _fits(name)]
    best = logits[0] if logits else None
    if loss is None and best is not None and given.targets is not None:
        loss = _cross_entropy(best, given.targets)
    if loss is None and best is None:
        raise UsageError(f"the model returned {_kind(out)}, without logits or a loss; {_ADVICE}")
    return Outcome(best, loss)


def _named(out: object) -> list[tuple[str, Tensor]]:
    if isinstance(out, Tensor):
        return [("", out)]
    if isinstance(out, Mapping):
        items = [(str(name), value) for name, value in out.items()]
    elif isinstance(out, tuple | list):
        names = getattr(out, "_fields", [""] * len(out))
        items = list(zip(names, out, strict=True))
    else:
        items = list(getattr(out, "__dict__", {}).items())
    return [(name, value) for name, value in items if isinstance(value, Tensor)]


def _is_loss(name: str, x: Tensor) -> bool:
    return x.numel() == 1 and x.is_floating_point() and (not name or "loss" in name)


def _fits(name: str) -> bool:
    return not name or "logit" in name or name in {"output", "out", "scores", "prediction"}


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor | None:
    """Return the mean next-token cross-entropy; None for logits that are not one a token."""
    logits = whole(logits)
    if logits.dim() == 2 and len(logits) == targets.numel():
        logits = logits.view(*targets.shape, -1)
    if logits.dim() != 3 or len(logits) != len(targets):
        return None
    if logits.shape[1] == targets.shape[1] + 1:  # the last input has no id that follows it
        logits = logits[:, :-1]
    if logits.shape[:2] != targets.shape:
        return None
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.to(logits.device).flatten())


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
