"""``python -m benchmarks.draws``: nanoseconds a normal number, the engine's beside PyTorch's.

One thread fills one chunk after another; medians over rounds, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from initscope import normals
from initscope.draws import chunk_size

STD = 0.02
CHUNKS = 32


def _pytorch(x: Tensor, seed: int) -> Tensor:
    return x.normal_(std=STD, generator=torch.Generator().manual_seed(seed))


GENERATORS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "initscope.normals": lambda x, seed: normals.fill(x, STD, seed),
    "torch.Tensor.normal_": _pytorch,
}


def nanoseconds(fill: Callable[[Tensor, int], Tensor], chunks: Sequence[Tensor]) -> float:
    """Time one number, over all chunks."""
    start = time.perf_counter()
    for seed, chunk in enumerate(chunks):
        fill(chunk, seed)
    return (time.perf_counter() - start) / sum(map(len, chunks)) * 1e9


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    chunks = torch.empty(CHUNKS, chunk_size(torch.device("cpu"))).unbind()
    for fill in GENERATORS.values():
        nanoseconds(fill, chunks)  # touches the memory, and makes the table
    rounds = [
        {name: nanoseconds(fill, chunks) for name, fill in GENERATORS.items()}
        for _ in range(args.rounds)
    ]
    torch.set_num_threads(threads)
    table = Table("generator", "ns a number", "÷ PyTorch's")
    for name in GENERATORS:
        own = statistics.median(one[name] for one in rounds)
        ratio = statistics.median(one[name] / one["torch.Tensor.normal_"] for one in rounds)
        table.add_row(name, f"{own:.2f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
