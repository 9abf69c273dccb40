"""A checkpoint's tensors in a model: which goes where, and what does not fit."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from initscope.anatomy import find_blocks
from initscope.checkpoint import Checkpoint, open_checkpoint
from initscope.errors import MeasurementError, UsageError
from initscope.skeleton import become
from initscope.target import converted

# What torch.compile, FSDP and activation checkpointing put into the names of what they wrap.
_INSERTED = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# What data parallelism, Lightning and DeepSpeed put before them.
_BEFORE = ("module.", "model.", "_forward_module.")
_LEFT_OVER = re.compile(r"rotary_emb\.inv_freq$|attn\.masked_bias$")  # that transformers once saved
_SHOWN = 3  # names of a kind that an error lists

Convert = Callable[[Tensor], Tensor]
Names = tuple[str, ...]


@dataclass(frozen=True)
class Restoring:
    """A checkpoint that fits a model: which of its tensors each of the model's takes.

    ``parameters`` maps the model's names, a tied weight under its first, to the names there, and
    ``buffers`` those that the checkpoint holds.
    """

    checkpoint: Checkpoint
    parameters: Mapping[str, Names]
    buffers: Mapping[str, str]

    def read(self, path: str) -> Tensor:
        """Return a parameter's tensor, mapped from the file.

        Raises:
            MeasurementError: where it cannot be read, or holds no plain numbers.
        """
        name = self.parameters[path][0]
        tensor = self._read(name)
        if not tensor.is_floating_point():
            raise MeasurementError(
                f"{name} of {self.checkpoint.label} is {tensor.dtype}: quantised weights are not "
                "measured"
            )
        return tensor

    def _read(self, name: str) -> Tensor:
        try:
            return self.checkpoint.read(name)
        except Exception as error:
            label = self.checkpoint.label
            raise MeasurementError(f"cannot read {name} of {label}: {error}") from error

    @torch.no_grad()
    def fill(
        self, model: nn.Module, convert: Convert, leave: AbstractSet[str] = frozenset()
    ) -> None:
        """Give the model the checkpoint's weights and buffers, but for those to ``leave``."""
        for path in self.parameters.keys() - leave:
            become(model.get_parameter(path), convert(self.read(path)))
        for path, name in self.buffers.items():
            model.get_buffer(path).copy_(self._read(name))

    def require_ties(self) -> None:
        """Refuse a checkpoint in which what the model ties has grown apart.

        Raises:
            UsageError: where it has.
        """
        for first, *others in self.parameters.values():
            for name in others:
                if not torch.equal(self._read(first), self._read(name)):
                    raise UsageError(
                        f"{self.checkpoint.label} holds a {first} and a {name} that differ, but "
                        "the model ties them: build it untied"
                    )


def restoring(model: nn.Module, checkpoint: Checkpoint, target: str) -> Restoring:
    """Find which tensor of a checkpoint each of a model's is.

    A tied weight may be saved under one of its names or all; a buffer may be left out. What
    transformers has renamed since is converted by it.

    Raises:
        UsageError: where tensors are missing, left over, or of another shape.
    """
    fit, faults = _match(model, checkpoint)
    if faults:
        state = converted(model, {name: checkpoint.read(name) for name in checkpoint.shapes})
        if state is None:
            raise UsageError(f"{checkpoint.label} does not fit {target}: {'; '.join(faults)}")
        fit, _ = _match(model, replace(open_checkpoint(state), label=checkpoint.label))
    fit.require_ties()
    return fit


def _match(model: nn.Module, checkpoint: Checkpoint) -> tuple[Restoring, list[str]]:
    """Return what fits, and what does not in words."""
    paths = _paths(model)
    known = {name for names in paths for name in names}
    buffers = dict(model.named_buffers(remove_duplicate=False)).keys() & model.state_dict().keys()
    held = _renamed(model, checkpoint, known | buffers)
    taken = {
        names[0]: found for names in paths
        if (found := tuple(held[name] for name in names if name in held))
    }  # fmt: skip
    fit = Restoring(checkpoint, taken, {name: held[name] for name in buffers & held.keys()})
    missing = [names[0] for names in paths if names[0] not in taken]
    left = [name for name in held if name not in known | buffers and not _ignored(model, name)]
    faults = [*_nameless(missing, left), *_misshapen(model, fit)]
    return fit, [*faults, *(_depths(model, held) if missing or left else ())]


def _paths(model: nn.Module) -> list[Names]:
    """Return the names of each parameter, several where it is tied."""
    paths: dict[int, Names] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        paths[id(parameter)] = (*paths.get(id(parameter), ()), name)
    return list(paths.values())


def _renamed(model: nn.Module, checkpoint: Checkpoint, known: AbstractSet[str]) -> dict[str, str]:
    """Return the checkpoint's names by the model's, under the prefix that fits the most."""
    own = {_plain(name): name for name in known}
    names = {_plain(name): name for name in checkpoint.shapes}
    base = getattr(model, "base_model_prefix", "")  # of transformers' models without a head
    added = f"{base}." if isinstance(base, str) and base else ""

    def change(name: str, prefix: str) -> str:
        return added + name if prefix == added else name.removeprefix(prefix)

    hits = {p: sum(change(name, p) in own for name in names) for p in ("", *_BEFORE, added)}
    best = max(hits, key=hits.__getitem__)
    changed = {change(name, best): saved for name, saved in names.items()}
    return {own.get(name, name): saved for name, saved in changed.items()}


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _INSERTED)


def _ignored(model: nn.Module, name: str) -> bool:
    """Whether a name that is left over is no loss: of a buffer that is not saved any more."""
    unsaved = dict(model.named_buffers(remove_duplicate=False)).keys()
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    return name in unsaved or any(re.search(one, name) for one in (*patterns, _LEFT_OVER))


# --- what does not fit, in words ---


def _nameless(missing: Sequence[str], left: Sequence[str]) -> Iterator[str]:
    if missing:
        yield f"it lacks {_some([name + _near(name, left) for name in missing])}"
    if left:
        yield f"the model has no {_some([name + _near(name, missing) for name in left])}"


def _near(name: str, others: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, others, n=1, cutoff=0.7)
    return f" (is it {found[0]}?)" if found else ""


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _misshapen(model: nn.Module, fit: Restoring) -> Iterator[str]:
    shapes = fit.checkpoint.shapes
    pairs = [
        (model.get_parameter(path), n) for path, names in fit.parameters.items() for n in names
    ]
    pairs += [(model.get_buffer(path), name) for path, name in fit.buffers.items()]  # type: ignore[misc]
    wrong = [
        f"{name} is {shapes[name]} there and {tuple(own.shape)} in the model"
        for own, name in pairs if tuple(own.shape) != shapes[name]
    ]  # fmt: skip
    if wrong:
        yield _some(wrong)


def _depths(model: nn.Module, held: Mapping[str, str]) -> Iterator[str]:
    """Say where the model has another number of blocks."""
    try:
        blocks = find_blocks(model)
    except UsageError:
        return
    numbered = re.compile(re.escape(blocks[0][0].rpartition(".")[0]) + r"\.(\d+)\.")
    numbers = {found[1] for name in held if (found := numbered.match(name))}
    if numbers and len(numbers) != len(blocks):
        yield (
            f"it holds {len(numbers)} blocks and the model {len(blocks)}: --n-layer "
            f"{len(numbers)} builds as many"
        )
