"""Models spread over two processes in every way, measured: run as a script by each of them.

``python rank_cases.py FOLDER RANK`` measures every case and leaves FOLDER/RANK.json behind.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import initscope
from initscope.construction import build
from initscope.rules import get_rule
from small import SMALL
from users_gpt import users_gpt

WORLD = 2
PATIENCE = timedelta(minutes=4)
FIELDS: dict[str, Any] = {**SMALL, "tied": False, "norm_kind": "layernorm"}


def batch(rows: int = 4) -> torch.Tensor:
    return torch.randint(97, (rows, 25), generator=torch.Generator().manual_seed(1))


def gpt(**fields: Any) -> nn.Module:
    return build(initscope.GPTConfig(**{**FIELDS, **fields}), get_rule("nanogpt"), 0)


def mine(ids: torch.Tensor, rank: int, first: int = 2) -> torch.Tensor:
    """Return a rank's rows: ``first`` of them for rank 0, the rest for rank 1."""
    return ids[:first] if rank == 0 else ids[first:]


def sharded(model: nn.Module, blocks: Any, **how: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for block in blocks:
        fully_shard(block, **how)
    fully_shard(model, **how)
    return model


def tensor_parallel(*, sequence: bool) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        PrepareModuleInput,
        RowwiseParallel,
        SequenceParallel,
        parallelize_module,
    )

    model: Any = gpt()
    mesh = init_device_mesh("cpu", (WORLD,))
    columns, rows = ColwiseParallel(), RowwiseParallel()
    plan: dict[str, Any] = dict.fromkeys(("q", "k", "v", "mlp_up"), columns)
    plan |= dict.fromkeys(("attn_out", "mlp_down"), rows)
    ends: dict[str, Any] = {"unembedding.head": ColwiseParallel(output_layouts=Replicate())}
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


def _ddp(rank: int) -> initscope.Profile:
    return initscope.inspect(DistributedDataParallel(users_gpt()), mine(batch(), rank))


def _ddp_unequal(rank: int) -> initscope.Profile:
    return initscope.inspect(DistributedDataParallel(users_gpt()), mine(batch(), rank, 3))


def _fsdp(rank: int) -> initscope.Profile:
    model: Any = users_gpt()
    sharded(model, model.transformer["h"])
    return initscope.inspect(model, mine(batch(), rank))


def _fsdp_unequal(rank: int) -> initscope.Profile:
    model: Any = gpt(bias=True)
    return initscope.inspect(sharded(model, model.blocks), mine(batch(), rank, 1))


def _fsdp_forward(rank: int) -> initscope.Profile:
    model: Any = users_gpt()
    sharded(model, model.transformer["h"])
    options = initscope.Options(forward_only=True)
    return initscope.inspect(model, mine(batch(), rank), options)


def _tp(_rank: int) -> initscope.Profile:
    return initscope.inspect(tensor_parallel(sequence=False), batch())


def _sequence(_rank: int) -> initscope.Profile:
    return initscope.inspect(tensor_parallel(sequence=True), batch())


CASES: dict[str, Case] = {
    "ddp": _ddp,
    "ddp-unequal": _ddp_unequal,
    "fsdp": _fsdp,
    "fsdp-unequal": _fsdp_unequal,
    "fsdp-forward": _fsdp_forward,
    "tp": _tp,
    "sequence": _sequence,
}


def measured(case: Case, rank: int) -> dict[str, Any]:
    try:
        profile = case(rank)
    except Exception:  # noqa: BLE001 - the test shows it
        return {"error": traceback.format_exc()}
    columns = ["layer", "site", "direction", "statistic", "value"]
    return {
        "table": profile.table[columns].to_numpy().tolist(),
        "run": [profile.run.batch, profile.run.parameters, profile.run.model],
        "shape": [profile.config.n_layer, profile.config.n_head, profile.config.d_ff],
    }


def main(folder: Path, rank: int, names: list[str]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=WORLD,
        timeout=PATIENCE,
    )  # fmt: skip
    found = {name: measured(CASES[name], rank) for name in names or CASES}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
