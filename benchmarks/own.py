"""This project's contestants, and what a user would write by hand instead."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.case import Case
from benchmarks.found import Judged, Readings, Taken, gather, kind_of
from initscope.construction import Allocation
from initscope.gpt import GPT
from initscope.judging import judge
from initscope.options import Options
from initscope.own import inspect
from initscope.plan import Plan
from initscope.recorder import Recorder
from initscope.rules import get_rule
from initscope.stream import crew_for, run
from initscope.sweep import compare

RULE = "nanogpt"


def _initialise(model: GPT) -> None:
    """Draw as nanoGPT's script does: module by module, then the residual projections again."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    for name, parameter in model.named_parameters():
        if name.endswith(("attn_out.weight", "mlp_down.weight")):
            nn.init.normal_(parameter, std=0.02 / (2 * model.config.n_layer) ** 0.5)


def build(case: Case) -> GPT:
    """Build the whole model as a user does: PyTorch's modules, then the weights drawn anew."""
    with case.device:
        model = GPT(case.config)
    if case.config.tied:
        model.unembedding.head.weight = model.embedding.wte.weight
    _initialise(model)
    return model


def step(model: nn.Module, ids: Tensor) -> Tensor:
    """Run the model forward and backward; return the loss."""
    _, loss = model(ids[:, :-1], ids[:, 1:])
    loss.backward()
    return loss


Observe = Callable[[GPT, Tensor], Readings | Judged]


def whole(observe: Observe) -> Callable[[Case], Taken]:
    """Make a contestant of what observes a model that is whole in memory."""

    def contestant(case: Case) -> Taken:
        start = time.perf_counter()
        model = build(case)
        ids = case.ids.to(case.device)
        synchronise(case.device)
        built = time.perf_counter() - start
        return Taken(observe(model, ids), built)

    return contestant


def synchronise(device: torch.device) -> None:
    """Wait for what was started on a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- without and with statistics by hand ---


def bare(model: GPT, ids: Tensor) -> Readings:
    """Run forward and backward, and look at the loss alone."""
    return {("", "loss", "loss"): step(model, ids).item()}


def hand_hooks(model: GPT, ids: Tensor) -> Readings:
    """Do what a user writes: a hook a module, ``.var().item()`` in each."""
    found: Readings = {}

    def hook(name: str) -> Callable[..., None]:
        def on_output(_module: nn.Module, _args: object, out: Tensor) -> None:
            found[name, kind_of(name), "variance"] = out.var().item()
            out.register_hook(
                lambda g: found.__setitem__((name, "gradient", "variance"), g.var().item())
            )

        return on_output

    _hook_all(model, hook)
    step(model, ids)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        found[name, "weight", "variance"] = parameter.var().item()
        found[name, "weight gradient", "variance"] = parameter.grad.var().item()
    return found


def careful_hooks(model: GPT, ids: Tensor) -> Readings:
    """Do what an expert writes: a mean and a dot product in each hook, one copy at the end."""
    found: dict[tuple[str, str, str], Tensor] = {}

    def see(name: str, kind: str, x: Tensor) -> None:
        flat = x.detach().reshape(-1)
        found[name, kind, "mean"] = flat.mean()
        found[name, kind, "second_moment"] = torch.dot(flat, flat) / flat.numel()

    def hook(name: str) -> Callable[..., None]:
        def on_output(_module: nn.Module, _args: object, out: Tensor) -> None:
            see(name, kind_of(name), out)
            out.register_hook(lambda g: see(name, "gradient", g))

        return on_output

    _hook_all(model, hook)
    step(model, ids)
    return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))


def _hook_all(model: GPT, hook: Callable[[str], Callable[..., None]]) -> None:
    for name, module in model.blocks.named_modules():
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.Identity):
            module.register_forward_hook(hook(f"blocks.{name}"))


# --- initscope ---


def resident(model: GPT, ids: Tensor) -> Judged:
    """Measure the whole model with initscope's hooks, and judge it."""
    profile = inspect(model, ids, Options(device=str(ids.device), depth_law=False))
    return Judged(profile, judge(profile).word)


def streamed(case: Case) -> Taken:
    """Measure with initscope's streamed engine, all its statistics, and judge them."""
    profile = inspect(case.config, RULE, _options(case))
    return Taken(Judged(profile, judge(profile).word))


def unmeasured(case: Case) -> Taken:
    """Do what the streamed engine does, without its statistics: their own cost is the rest."""
    plan = _plan(case)
    with crew_for(plan) as crew:
        run(plan, case.ids, 0, Recorder(crew, listens=False))
    return Taken({})


def _plan(case: Case) -> Plan:
    allocation = Allocation(case.device)
    return Plan(config=case.config, rule=get_rule(RULE), allocation=allocation)


def compared(case: Case, rules: list[str]) -> Taken:
    """Compare rules on one shape, at its one depth, through the interface of ``compare``."""
    profiles = compare(case.config, rules, _options(case))
    return Taken({
        (f"{profile.rule} {place}", kind, statistic): value for profile in profiles
        for (place, kind, statistic), value in gather(profile).items()
    })  # fmt: skip


def shaped(case: Case, dtype: str, *, forward_only: bool) -> Taken:
    """Measure in another dtype, or forward alone."""
    options = dataclasses.replace(_options(case), dtype=dtype, forward_only=forward_only)
    profile = inspect(case.config, RULE, options)
    return Taken(gather(profile))


def _options(case: Case) -> Options:
    length = case.ids.shape[1] - 1
    return Options(seq_len=length, device=str(case.device), depth_law=False)
