"""``python -m benchmarks.worker NAME``: one contestant, once, in this process.

Prints the seconds, the seconds of them before the first pass, the peak memory and what was
recorded as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.case import VOCABULARY, Case, Cell, cell_argument
from benchmarks.child import ABSENT
from initscope.tuning import tune

if TYPE_CHECKING:
    from benchmarks.contestants import Contestant

# The command tells the C library and OpenMP how to behave before torch loads; so does a child
# that stands for the command. What is used from Python is left as a user's script has it.
TUNED = ("streamed", "unmeasured")

WARM_UP = Cell(2, 64, 16)
WARM_UP_VOCABULARY = 128


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--cell", type=cell_argument, required=True)
    parser.add_argument("--vocab-size", type=int, default=VOCABULARY)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of the streamed engine's weights")
    parser.add_argument("--forward-only", action="store_true", help="of the streamed engine")
    parser.add_argument(
        "--rule",
        dest="rules",
        action="append",
        metavar="NAME",
        help="compare these with the streamed engine instead; repeated",
    )
    parser.add_argument("--cold", action="store_true", help="without a tiny run before")
    parser.add_argument("--rates", action="store_true", help="time draws and products too")
    return parser.parse_args(arguments)


def main() -> None:
    """Parse, run, print."""
    args = parsed()
    if args.name in TUNED:
        tune()
    print(json.dumps(measure(args)))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run a contestant once, after a tiny model that loads what is loaded at first use."""
    import torch

    contestant = _chosen(args)
    if not contestant.installed:
        return {"status": ABSENT}
    if args.threads:
        torch.set_num_threads(args.threads)
    if not args.cold:
        contestant.run(Case.make(WARM_UP, WARM_UP_VOCABULARY, args.device))
    case = Case.make(args.cell, args.vocab_size, args.device)
    if not args.rates:
        return timed(contestant.run, case)
    from benchmarks.rates import rates

    before, found = rates(case), timed(contestant.run, case)
    return {**found, "rates": before.faster(rates(case))}


def _chosen(args: argparse.Namespace) -> Contestant:
    """Return the contestant by its name, or one that does what else was asked of the engine."""
    from benchmarks import own
    from benchmarks.contestants import CONTESTANTS, Contestant

    if args.rules:
        return Contestant("compare", partial(own.compared, rules=args.rules))
    if args.forward_only or args.dtype != "float32":
        plain = partial(own.shaped, dtype=args.dtype, forward_only=args.forward_only)
        return Contestant("streamed", plain)
    return CONTESTANTS[args.name]


def timed(run: Any, case: Case) -> dict[str, Any]:  # noqa: ANN401 - a contestant; torch is heavy
    """Time a contestant on a case."""
    import torch

    from benchmarks.found import recorded
    from benchmarks.own import synchronise

    torch.manual_seed(0)
    if case.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(case.device)
    before = resident_peak()
    start = time.perf_counter()
    taken = run(case)
    synchronise(case.device)
    seconds = time.perf_counter() - start
    peak = resident_peak()
    if case.device.type == "cuda":
        peak, before = torch.cuda.max_memory_allocated(case.device), 0
    return {
        "seconds": seconds, "built": taken.built, "bytes": peak, "before": before,
        "readings": len(taken.readings), "records": recorded(taken.readings),
        "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip


def resident_peak() -> int:
    """Return this process's largest resident set (VmHWM, which a child does not inherit)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
