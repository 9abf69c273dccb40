"""Who measures: every contestant by its name, with the package that it needs.

A contestant is a function of a case that does everything between "the modules are imported" and
"the numbers are on the host".
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

from benchmarks import own, peers
from benchmarks.case import Case
from benchmarks.found import Taken


class Contestant(NamedTuple):
    """What is run, its name in the table, and the package that it is imported from."""

    title: str
    run: Callable[[Case], Taken]
    package: str = ""

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return not self.package or find_spec(self.package) is not None


CONTESTANTS: dict[str, Contestant] = {
    "bare": Contestant("bare forward and backward", own.whole(own.bare)),
    "streamed": Contestant("initscope, streamed", own.streamed),
    "unmeasured": Contestant("initscope, streamed, no statistics", own.unmeasured),
    "resident": Contestant("initscope, resident", own.whole(own.resident)),
    "hooks": Contestant("hand-written hooks", own.whole(own.hand_hooks)),
    "careful": Contestant("careful hooks: mean and dot", own.whole(own.careful_hooks)),
    "huggingface": Contestant(
        "DebugUnderflowOverflow", own.whole(peers.huggingface), "transformers"
    ),
    "mup": Contestant("mup coordinate check", own.whole(peers.mup), "mup"),
    "monitor": Contestant("torch-module-monitor", own.whole(peers.monitor), "torch_module_monitor"),
    "unit-scaling": Contestant(
        "unit-scaling track_scales", own.whole(peers.unit_scaling), "unit_scaling"
    ),
    "torchlens": Contestant("torchlens trace", own.whole(peers.torchlens), "torchlens"),
    "nndiagnostics": Contestant("nndiagnostics", own.whole(peers.nndiagnostics), "diagnostics"),
}
