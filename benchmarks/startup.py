"""``python -m benchmarks.startup``: seconds until the help is shown, and until the import is done.

Each is a fresh process, whose bare start-up is shown beside it: medians, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

# What is run, and the most seconds that it is to take on an idle machine.
STARTS = {
    "python -c pass": (["-c", "pass"], None),
    "import initscope": (["-c", "import initscope"], 0.1),
    "initscope --help": (["-m", "initscope", "--help"], 0.3),
}


def seconds(arguments: list[str]) -> float:
    """Time one process, from its start to its end."""
    before = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - before


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    rounds = [
        {name: seconds(words) for name, (words, _) in STARTS.items()} for _ in range(args.rounds)
    ]
    table = Table("process", "median s", "fastest s", "to be at most")
    for name, (_, most) in STARTS.items():
        taken = [one[name] for one in rounds]
        median, fastest = statistics.median(taken), min(taken)
        table.add_row(name, f"{median:.3f}", f"{fastest:.3f}", "-" if most is None else f"{most}")
    Console().print(table)


if __name__ == "__main__":
    main()
