"""Checkpoints: names and shapes at once, tensors one by one, and never any code of the file's.

What PyTorch saved is loaded with ``weights_only=True`` and mapped, not read; safetensors are read
a tensor at a time. Neither ever holds more than the tensor at hand.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from initscope.errors import MeasurementError, UsageError

SAFETENSORS = (".safetensors",)
PICKLED = (".pt", ".pth", ".bin", ".ckpt")
# What a folder may hold, the first that is there.
IN_FOLDER = (
    "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json",
    "pytorch_model.bin", "lit_model.pth", "ckpt.pt",
)  # fmt: skip
NESTED = ("model", "state_dict", "module", "model_state_dict")
DEEPEST = 4  # levels of nesting
CONFIGS = ("config", "model_args", "hyper_parameters", "hparams")
ARGUMENTS = "model_args"  # what nanoGPT builds the model with; its config is the whole run's
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
LONGEST_JSON = 1 << 26  # bytes; the index of a thousand layers is far below


@dataclass(frozen=True)
class Checkpoint:
    """Names, shapes and a way to get a tensor.

    ``n_head`` is what a configuration saved with it says, 0 where there is none, and
    ``arguments`` are those that its model was built with, where it tells them.
    """

    label: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    n_head: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)


def is_checkpoint(name: str) -> bool:
    """Whether a name is that of a checkpoint's file, or of a folder that is there."""
    path = Path(name)
    return path.suffix in (*SAFETENSORS, *PICKLED) or name.endswith(".index.json") or path.is_dir()


def open_checkpoint(source: str | Path | nn.Module | Mapping[str, Any]) -> Checkpoint:
    """Open a file, a folder, a module or a state dict.

    Raises:
        UsageError: for a path that does not exist, or is of no known kind.
        MeasurementError: for a file that cannot be read as what it is named.
    """
    if isinstance(source, nn.Module):
        heads = _heads(getattr(source, "config", None))
        return _of_tensors(type(source).__name__, dict(source.named_parameters()), heads)
    if isinstance(source, Mapping):
        return _of_saved("state dict", source)
    path = Path(source)
    if not path.exists():
        raise UsageError(f"cannot read {path}: there is no such file")
    if path.is_dir():
        path = _in_folder(path)
    return _of_file(path)


def _in_folder(folder: Path) -> Path:
    for name in IN_FOLDER:
        if (folder / name).is_file():
            return folder / name
    found = [path for path in sorted(folder.iterdir()) if path.suffix in SAFETENSORS + PICKLED]
    if len(found) != 1:
        what = f"{len(found)} checkpoints; name one" if found else "no checkpoint"
        raise UsageError(f"{folder} holds {what} (looked for {', '.join(IN_FOLDER[:4])})")
    return found[0]


def _of_file(path: Path) -> Checkpoint:
    heads = _heads(_json(path.parent / "config.json"))
    if path.suffix == ".json":
        return _of_index(path, heads)
    if path.suffix in SAFETENSORS:
        return _of_safetensors(str(path), [path], heads)
    if path.suffix in PICKLED:
        return _of_saved(str(path), _load(path), heads)
    known = ", ".join(SAFETENSORS + PICKLED)
    raise UsageError(f"{path} is of no kind known here; a checkpoint's name ends in {known}")


# --- safetensors ---


def _safetensors() -> ModuleType:
    try:
        import safetensors
    except ImportError as error:
        raise UsageError(
            "safetensors files need safetensors: pip install 'initscope[safetensors]'"
        ) from error
    return safetensors


def _of_safetensors(label: str, paths: list[Path], heads: int) -> Checkpoint:
    """Open the shards of a checkpoint, each mapped and closed with the process."""
    library = _safetensors()
    homes, shapes = {}, {}
    for path in paths:
        with _refusing(path):
            shard = library.safe_open(str(path), framework="pt").__enter__()
            for name in shard.keys():  # noqa: SIM118 - no mapping
                homes[name] = shard
                shapes[name] = tuple(shard.get_slice(name).get_shape())
    return Checkpoint(label, shapes, lambda name: homes[name].get_tensor(name), heads)


def _of_index(path: Path, heads: int) -> Checkpoint:
    """Open what an index names: files beside it, and nowhere else."""
    index = _json(path)
    weights = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise MeasurementError(f"cannot read {path}: it has no weight_map, as an index has")
    names = sorted({str(name) for name in weights.values()})
    for name in names:
        if Path(name).name != name or name in {"", ".", ".."}:
            raise MeasurementError(f"{path} names {name!r}, which is not a file beside it")
        if not (path.parent / name).is_file():
            raise MeasurementError(f"{path} names {name}, which is not there")
    shards = [path.parent / name for name in names]
    if all(shard.suffix in SAFETENSORS for shard in shards):
        return _of_safetensors(str(path), shards, heads)
    merged: dict[str, Any] = {}
    for shard in shards:
        merged |= _state(_load(shard), str(shard))
    return _of_tensors(str(path), merged, heads)


# --- what PyTorch saved ---


def _load(path: Path) -> object:
    with _refusing(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an old format, before it is read or refused
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )


def _of_saved(label: str, saved: object, heads: int = 0) -> Checkpoint:
    told = [saved.get(name) for name in CONFIGS] if isinstance(saved, Mapping) else []
    heads = heads or next((n for n in map(_heads, told) if n), 0)
    arguments = saved.get(ARGUMENTS) if isinstance(saved, Mapping) else None
    found = _of_tensors(label, _state(saved, label), heads)
    return replace(found, arguments=arguments) if isinstance(arguments, Mapping) else found


def _state(saved: object, label: str) -> dict[str, Any]:
    """Find the tensors, however deep they are nested."""
    for _ in range(DEEPEST):  # a file may name itself as its own inside
        inner = _inner(saved)
        saved = saved if inner is None else inner
    tensors = (
        {str(name): value for name, value in saved.items() if isinstance(value, Tensor)}
        if isinstance(saved, Mapping) else {}
    )  # fmt: skip
    if not tensors:
        raise MeasurementError(
            f"{label} holds no tensors: a state dict was expected, or one under "
            f"{', '.join(map(repr, NESTED))}"
        )
    return tensors


def _inner(saved: object) -> Mapping[str, Any] | None:
    names = NESTED if isinstance(saved, Mapping) else ()
    found = (saved[name] for name in names if isinstance(saved.get(name), Mapping))  # type: ignore[index, attr-defined]
    return next(found, None)


def _of_tensors(label: str, tensors: Mapping[str, Tensor], heads: int) -> Checkpoint:
    floating = {name: x for name, x in tensors.items() if x.is_floating_point()}
    shapes = {name: tuple(x.shape) for name, x in floating.items()}
    return Checkpoint(label, shapes, floating.__getitem__, heads)


# --- what is refused ---


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what a library says of a broken file into one sentence."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise MeasurementError(
            f"cannot read {path}: it is damaged, or holds objects other than tensors, which are "
            "never run; save a plain state dict"
        ) from error
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise MeasurementError(f"cannot read {path}: {reason}") from error


def _json(path: Path) -> object:
    """Read a small JSON file; None where there is none, or it is no JSON."""
    if not path.is_file() or path.stat().st_size > LONGEST_JSON:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def _heads(config: object) -> int:
    """Find the number of attention heads in a configuration; 0 where it says nothing."""
    for name in HEADS:
        value = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
        if type(value) is int and value > 0:
            return value
    return 0
