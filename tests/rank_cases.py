"""Models spread over two processes in every way, measured: run as a script by each of them.

``python rank_cases.py FOLDER RANK`` measures every case and leaves FOLDER/RANK.json behind.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel

import initscope
from initscope.readout import Key, Moments
from initscope.resident.spread import ranks_of
from users_gpt import users_gpt
from whole_models import batch, gpt

WORLD = 2
PATIENCE = timedelta(minutes=4)


def mine(ids: torch.Tensor, rank: int, first: int = 2) -> torch.Tensor:
    """Return a rank's rows: ``first`` of them for rank 0, the rest for rank 1."""
    return ids[:first] if rank == 0 else ids[first:]


def sharded(model: nn.Module, blocks: Any, **how: Any) -> nn.Module:
    for block in blocks:
        fully_shard(block, **how)
    fully_shard(model, **how)
    return model


def tensor_parallel(*, sequence: bool, head: Any = None) -> nn.Module:
    model: Any = gpt()
    mesh = init_device_mesh("cpu", (WORLD,))
    columns, rows = ColwiseParallel(), RowwiseParallel()
    plan: dict[str, Any] = dict.fromkeys(("q", "k", "v", "mlp_up"), columns)
    plan |= dict.fromkeys(("attn_out", "mlp_down"), rows)
    ends = {"unembedding.head": head or ColwiseParallel(output_layouts=Replicate())}
    if sequence:
        whole = ColwiseParallel(input_layouts=Shard(1))
        plan |= dict.fromkeys(("q", "k", "v", "mlp_up"), whole)
        plan |= dict.fromkeys(("attn_out", "mlp_down"), RowwiseParallel(output_layouts=Shard(1)))
        plan |= dict.fromkeys(("norm_1", "norm_2"), SequenceParallel(use_local_output=True))
        ends = {
            "unembedding.norm_f": SequenceParallel(use_local_output=True),
            "unembedding.head": ColwiseParallel(input_layouts=Shard(1), output_layouts=Replicate()),
            "blocks.0": PrepareModuleInput(
                input_layouts=Replicate(), desired_input_layouts=Shard(1), use_local_output=True
            ),
        }
    for block in model.blocks:
        parallelize_module(block, mesh, plan)
    return parallelize_module(model, mesh, ends)


Case = Callable[[int], initscope.Profile]


def _ddp(first: int) -> Case:
    def case(rank: int) -> initscope.Profile:
        return initscope.inspect(DistributedDataParallel(users_gpt()), mine(batch(), rank, first))

    return case


def _fsdp(first: int, **fields: Any) -> Case:
    def case(rank: int) -> initscope.Profile:
        model: Any = gpt(**fields)
        return initscope.inspect(sharded(model, model.blocks), mine(batch(), rank, first))

    return case


def _fsdp_forward(rank: int) -> initscope.Profile:
    model: Any = users_gpt()
    sharded(model, model.transformer["h"])
    options = initscope.Options(forward_only=True)
    return initscope.inspect(model, mine(batch(), rank), options)


def _fsdp_made(_rank: int) -> initscope.Profile:
    model: Any = gpt()
    options = initscope.Options(batch=2, seq_len=16)
    return initscope.inspect(sharded(model, model.blocks), None, options)


def _tensor_parallel(rank: int, *, sequence: bool) -> initscope.Profile:
    del rank
    return initscope.inspect(tensor_parallel(sequence=sequence), batch())


def _tensor_parallel_logits(_rank: int) -> initscope.Profile:
    """Logits that stay divided, and no loss."""
    model = tensor_parallel(sequence=False, head=ColwiseParallel(use_local_output=False))
    return initscope.inspect(model, {"ids": batch()})


def _different(rank: int) -> initscope.Profile:
    options = initscope.Options(forward_only=rank == 0)
    return initscope.inspect(DistributedDataParallel(gpt()), batch(), options)


CASES: dict[str, Case] = {
    "ddp": _ddp(2),
    "ddp-unequal": _ddp(3),
    "fsdp": _fsdp(2),
    "fsdp-unequal": _fsdp(1, bias=True, tied=True),
    "fsdp-forward": _fsdp_forward,
    "fsdp-made": _fsdp_made,
    "tp": partial(_tensor_parallel, sequence=False),
    "tp-sequence": partial(_tensor_parallel, sequence=True),
    "tp-logits": _tensor_parallel_logits,
    "different": _different,
}


def stepped(rank: int, wrap: Callable[[], nn.Module], *, look: bool) -> list[torch.Tensor]:
    """Take two training steps, perhaps with a measurement before each; return what remains."""
    torch.manual_seed(3)
    model, ids = wrap(), mine(batch(), rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        if look:
            initscope.inspect(model, ids)
        model(ids[:, :-1], ids[:, 1:])[1].backward()
        optimizer.step()
    parameters = [getattr(p, "to_local", lambda p=p: p)() for p in model.parameters()]
    return [*parameters, torch.get_rng_state()]


def _dropping() -> Any:
    return users_gpt(dropout=0.1)


def _dropping_sharded() -> nn.Module:
    model = _dropping()
    return sharded(model, model.transformer["h"])


WRAPPED: dict[str, Callable[[], nn.Module]] = {
    "ddp": lambda: DistributedDataParallel(_dropping()),
    "ddp-static": lambda: DistributedDataParallel(_dropping(), static_graph=True),
    "fsdp": _dropping_sharded,
}


def untouched(rank: int, wrap: Callable[[], nn.Module]) -> bool:
    plain, watched = (stepped(rank, wrap, look=look) for look in (False, True))
    return all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def measured(case: Case, rank: int) -> dict[str, Any]:
    try:
        profile = case(rank)
    except Exception as error:  # noqa: BLE001 - the test shows it
        return {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    columns = ["layer", "site", "direction", "statistic", "value"]
    return {
        "table": profile.table[columns].to_numpy().tolist(),
        "run": [profile.run.batch, profile.run.parameters, profile.run.model],
        "shape": [profile.config.n_layer, profile.config.n_head, profile.config.d_ff],
    }


def missing(rank: int) -> dict[str, list[float]]:
    """Pool readings of which each rank has one that the other has not."""
    seen = {"both": 1.0 + rank, ("first", "second")[rank]: 5.0 + rank}
    parts = {Key(0, site, "forward", "loss"): Moments(1 + rank, x) for site, x in seen.items()}
    pooled = ranks_of(DistributedDataParallel(nn.Linear(1, 1))).pool(parts)
    return {key.site: [moments.size, moments.mean] for key, moments in pooled.items()}


def join(folder: Path, rank: int) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=WORLD,
        timeout=PATIENCE,
    )  # fmt: skip


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    join(folder, rank)
    found: dict[str, Any] = {name: measured(case, rank) for name, case in CASES.items()}
    found["untouched"] = {name: untouched(rank, wrap) for name, wrap in WRAPPED.items()}
    found["missing"] = missing(rank)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
