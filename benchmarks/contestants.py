"""What is timed: each contestant measures the same GPT on the same token ids.

A contestant is a function of (config, ids) that does everything between "the modules are
imported" and "the numbers are on the host". Run as a script, this module times one of them in a
process of its own and prints the seconds and the peak resident memory as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from initscope.tuning import tune

if __name__ == "__main__" and "initscope" in sys.argv:  # as the command itself does
    tune()

import torch
from torch import Tensor, nn

from initscope.config import GPTConfig
from initscope.construction import Allocation
from initscope.gpt import GPT
from initscope.options import Options
from initscope.plan import Plan
from initscope.rules import get_rule
from initscope.stream import measure
from initscope.tokens import tokens

Readings = int
Contestant = Callable[[GPTConfig, Tensor], Readings]


def _initialise(model: nn.Module, config: GPTConfig) -> None:
    """Draw as nanoGPT's script does: module by module, then the residual projections again."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    for name, parameter in model.named_parameters():
        if name.endswith(("attn_out.weight", "mlp_down.weight")):
            nn.init.normal_(parameter, std=0.02 / (2 * config.n_layer) ** 0.5)


def _whole(config: GPTConfig) -> GPT:
    model = GPT(config)
    if config.tied:
        model.unembedding.head.weight = model.embedding.wte.weight
    _initialise(model, config)
    return model


def bare(config: GPTConfig, ids: Tensor) -> Readings:
    """Build the whole model, run it forward and backward, and look at nothing."""
    _, loss = _whole(config)(ids[:, :-1], ids[:, 1:])
    loss.backward()
    return 1


def hand_hooks(config: GPTConfig, ids: Tensor) -> Readings:
    """Do what a user writes: whole model, a hook a module, ``.var().item()`` in each."""
    model = _whole(config)
    found: dict[str, float] = {}

    def hook(name: str) -> Callable[..., None]:
        def on_output(_module: nn.Module, _args: object, out: Tensor) -> None:
            found[name] = out.var().item()
            out.register_hook(lambda g: found.__setitem__(f"{name} grad", g.var().item()))

        return on_output

    measured = (nn.Linear, nn.LayerNorm, nn.Identity)
    for name, module in model.blocks.named_modules():
        if isinstance(module, measured):
            module.register_forward_hook(hook(name))
    _, loss = model(ids[:, :-1], ids[:, 1:])
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        found[f"{name} weight"] = parameter.var().item()
        found[f"{name} weight grad"] = parameter.grad.var().item()
    return len(found)


def streamed(config: GPTConfig, ids: Tensor) -> Readings:
    """Run initscope's streamed engine with all its statistics."""
    plan = Plan(config=config, rule=get_rule("nanogpt"), allocation=Allocation())
    return len(measure(plan, ids, seed=0))


CONTESTANTS: dict[str, Contestant] = {
    "bare model": bare,
    "hand-written hooks": hand_hooks,
    "initscope": streamed,
}


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("--n-layer", type=int, default=48)
    parser.add_argument("--n-embd", type=int, default=768)
    parser.add_argument("--tokens", type=int, default=256)
    args = parser.parse_args()
    config = GPTConfig(n_layer=args.n_layer, n_embd=args.n_embd)
    batch = Options().batch
    drawn = tokens("zipf", vocab_size=config.vocab_size, batch=batch, length=args.tokens + 1)
    ids = torch.from_numpy(drawn)
    start = time.perf_counter()
    readings = CONTESTANTS[args.name](config, ids)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "bytes": peak_bytes(), "readings": readings}))


def peak_bytes() -> int:
    """Return this process's largest resident set (VmHWM, which a child does not inherit)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    _main()
