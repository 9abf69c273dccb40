"""Inspect a GPT that FSDP2 has sharded, over as many processes as there are.

torchrun --standalone --nproc-per-node 2 examples/distributed.py --n-layer 12
"""

from __future__ import annotations

import argparse
import os
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard

import initscope


def start() -> torch.device:
    """Join the other processes; a rank that fails ends them all within five minutes."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(minutes=5))
    return device


def main() -> None:
    """Build, shard, inspect; the first rank tells what all of them have measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-layer", type=int, default=12)
    parser.add_argument("--n-embd", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2, help="sequences of each rank")
    chosen = parser.parse_args()

    device = start()
    config = initscope.GPTConfig(n_layer=chosen.n_layer, n_embd=chosen.n_embd, vocab_size=1024)
    model = initscope.build(config, "nanogpt", seed=0).to(device)
    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)

    rank = distributed.get_rank()
    own = torch.Generator().manual_seed(rank)  # each rank has its own share of the batch
    ids = torch.randint(config.vocab_size, (chosen.batch, 129), generator=own)
    profile = initscope.inspect(model, ids.to(device))
    if rank == 0:
        print(profile.stream().round(5))
        print(f"{profile.run.batch} sequences, {profile.run.parameters} parameters")
        print(initscope.judge(profile).headline)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
