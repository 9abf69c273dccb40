"""Finding whom a model is spread over, from its wrappers and its parameters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from initscope.anatomy.local import is_distributed
from initscope.errors import UsageError
from initscope.options import Options
from initscope.resident.ranks import ALONE, Ranks
from initscope.target import token_ids


def ranks_of(model: nn.Module) -> Ranks:
    """Return whom a model is spread over; nobody, where it lies in this process alone.

    Raises:
        UsageError: for the first version of FSDP, whose parameters have lost their shapes.
    """
    modules = list(model.modules())
    if any(isinstance(module, _fsdp("FullyShardedDataParallel")) for module in modules):
        raise UsageError(
            "FullyShardedDataParallel flattens parameters, so nothing can be said of each: "
            "shard the model with torch.distributed.fsdp.fully_shard"
        )
    data = _by_name([*_replicated(modules), *_sharded(modules)])
    parameters: Iterable[Any] = model.parameters()
    meshes = [p.device_mesh for p in parameters if is_distributed(p)]
    split = _by_name(group for mesh in meshes for group in mesh.get_all_groups())
    model_groups = tuple(group for name, group in split.items() if name not in data)
    groups = (*data.values(), *model_groups)
    if not groups:
        return ALONE
    return Ranks(tuple(data.values()), model_groups, _device(model, groups))


def _by_name(groups: Iterable[Any]) -> Mapping[str, Any]:
    return {group.group_name: group for group in groups}


def _replicated(modules: Iterable[nn.Module]) -> Iterator[Any]:
    for module in modules:
        if isinstance(module, DistributedDataParallel):
            yield module.process_group


def _sharded(modules: Iterable[nn.Module]) -> Iterator[Any]:
    """Yield the groups of the first module that FSDP2 shards; all are sharded over the same."""
    states = (m._get_fsdp_state() for m in modules if isinstance(m, _fsdp("FSDPModule")))  # noqa: SLF001 - no public way
    infos = (group.mesh_info for state in states for group in _parameter_groups(state))
    info = next(infos, None)
    for dimension in ("replicate_mesh_dim", "shard_mesh_dim"):
        place = getattr(info, dimension, None)
        if info is not None and place is not None:
            yield info.mesh.get_group(place)


def _parameter_groups(state: Any) -> list[Any]:  # noqa: ANN401 - torch's own, and private
    """Return FSDP2's groups of parameters: one a module, several in newer versions."""
    groups = getattr(state, "_fsdp_param_groups", None)
    return list(groups) if groups is not None else list(filter(None, [state._fsdp_param_group]))  # noqa: SLF001


def _fsdp(name: str) -> type[Any] | tuple[()]:
    """Return a class of torch.distributed.fsdp; none where that was never loaded."""
    found: type[Any] | tuple[()] = getattr(sys.modules.get("torch.distributed.fsdp"), name, ())
    return found


def _device(model: nn.Module, groups: tuple[Any, ...]) -> torch.device:
    """Return where the groups can exchange: the CPU if their backend can."""
    from torch import distributed

    if any("cpu" not in distributed.get_backend_config(group) for group in groups):
        device = next(p.device for p in model.parameters())
        return device if device.type != "cpu" else torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def called(model: nn.Module) -> nn.Module:
    """Return what is called: the module inside DDP, which would begin to average gradients."""
    inner = getattr(model, "_orig_mod", model)  # what torch.compile has wrapped
    return inner.module if isinstance(inner, DistributedDataParallel) else model


@contextmanager
def apart(model: nn.Module) -> Iterator[tuple[nn.Module, Callable[[], None]]]:
    """Keep a measurement out of what DDP and FSDP2 do with a training step.

    Yields what is called, and what has its parameters sharded again after a forward pass.
    """
    module = called(model)
    bare = nullcontext() if module is model else _with_stand_ins(module)
    with _resharded(module) as reshard, bare:
        yield module, reshard


@contextmanager
def _resharded(module: nn.Module) -> Iterator[Callable[[], None]]:
    """Have parameters sharded, outside of a pass, before and after; yields what does it again.

    After a forward pass alone, FSDP2 leaves those of the outermost module whole.
    """
    sharded = [one for one in module.modules() if isinstance(one, _fsdp("FSDPModule"))]

    def reshard() -> None:
        for one in sharded:
            one.reshard()

    reshard()
    try:
        yield reshard
    finally:
        reshard()


@contextmanager
def _with_stand_ins(module: nn.Module) -> Iterator[None]:
    """Have parameters that share memory with DDP's, whose gradients its reducer never counts."""
    owners = [
        (one._parameters, name, parameter)  # noqa: SLF001 - no public way past the registration
        for one in module.modules()
        for name, parameter in one._parameters.items()  # noqa: SLF001
        if type(parameter) is nn.Parameter
    ]
    stand_ins = {id(parameter): _stand_in(parameter) for _, _, parameter in owners}
    try:
        for owner, name, parameter in owners:
            owner[name] = stand_ins[id(parameter)]
        yield
    finally:
        for owner, name, parameter in owners:
            owner[name] = parameter


def _stand_in(parameter: nn.Parameter) -> nn.Parameter:
    made = nn.Parameter(parameter.detach(), parameter.requires_grad)
    made.__dict__.update(parameter.__dict__)
    return made


def class_name(model: nn.Module) -> str:
    """Return the name of the class as it was written: ``fully_shard`` derives one from it."""
    name = type(called(model)).__name__
    return name.removeprefix("FSDP") if isinstance(model, _fsdp("FSDPModule")) else name


def share_of_ids(model: nn.Module, options: Options, ranks: Ranks) -> Tensor:
    """Make token ids for every share of the batch, and return those of this process."""
    whole = replace(options, batch=options.batch * ranks.shares)
    ids = token_ids(called(model), whole, None, 0)
    return ids[ranks.share * options.batch :][: options.batch]
