"""A rank that fails while two measure one model: run as a script by each of them.

``python rank_failures.py FOLDER RANK HOW WAY``: rank 1 is ``killed`` in the middle of a forward
pass, or ``asleep`` before it; the model is spread by ``ddp`` or ``fsdp``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

import initscope
from initscope.resident import ranks
from rank_cases import join, sharded
from whole_models import batch, gpt

PASSES = 2  # the one that finds the parts, and the one that is measured


def kill_in_the_second_pass(model: nn.Module) -> None:
    passes = []

    def hook(*_: object) -> None:
        passes.append(1)
        if len(passes) == PASSES:
            os.kill(os.getpid(), signal.SIGKILL)

    model.register_forward_pre_hook(hook)


def main(folder: Path, rank: int, how: str, way: str) -> None:
    join(folder, rank)
    model: Any = gpt()
    if how == "killed" and rank == 1:
        kill_in_the_second_pass(model.blocks[1])
    spread = DistributedDataParallel(model) if way == "ddp" else sharded(model, model.blocks)
    if how == "asleep":
        ranks.TIMEOUT = timedelta(seconds=3)
        if rank == 1:
            time.sleep(600)
    initscope.inspect(spread, batch())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
    except Exception:  # noqa: BLE001 - told, and the end of this rank, as Python would have it
        traceback.print_exc()
        sys.stderr.flush()
        # Python's own end would wind up a group whose worker may still be in the exchange that
        # was given up; at times PyTorch aborts then.
        os._exit(1)
