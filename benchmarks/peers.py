"""Other people's tools on the same model: each as its own documentation uses it.

Their packages are imported when they run: what is not installed is said to be so.
"""

from __future__ import annotations

import io
import os
import warnings
from contextlib import redirect_stdout
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from benchmarks.found import Readings, kind_of
from benchmarks.own import step
from initscope import gpt
from initscope.gpt import GPT


def huggingface(model: GPT, ids: Tensor) -> Readings:
    """Run under transformers' DebugUnderflowOverflow, in its detecting mode; read its frames."""
    from transformers.debug_utils import DebugUnderflowOverflow

    debug = DebugUnderflowOverflow(model, max_frames_to_save=100_000)
    step(model, ids)
    found: Readings = {}
    for frame in debug.frames:
        place = ""
        for line in frame.splitlines():
            head, _, rest = line.strip().partition(" ")
            if rest.startswith(("-", "+")) or _is_number(head):
                _read_frame(found, place, line.split())
            elif head and rest and not head.startswith(("*", "abs")):
                place = head
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_frame(found: Readings, place: str, columns: list[str]) -> None:
    """Read ``abs min, abs max, what``: an output, an input or a parameter's own name."""
    if len(columns) != 3 or columns[2].startswith("input"):
        return
    low, high, what = columns
    output = what.startswith("output")
    name, kind = (place, kind_of(place)) if output else (f"{place}.{what}", "weight")
    found[name, kind, "min_abs"], found[name, kind, "max_abs"] = float(low), float(high)


def mup(model: GPT, ids: Tensor) -> Readings:
    """Record with the hook of mup's coordinate check on every module: l1, its default, and l2."""
    from mup.coord_check import _record_coords

    records: list[dict[str, Any]] = []
    for name, module in model.named_modules():
        hook = _record_coords(records, model.config.n_embd, name, 0, {"l1": "l1", "l2": "l2"})
        module.register_forward_hook(hook)
    step(model, ids)
    return {
        (one["module"], kind_of(one["module"]), statistic): one[statistic]
        for one in records for statistic in ("l1", "l2")
    }  # fmt: skip


def monitor(model: GPT, ids: Tensor) -> Readings:
    """Run under torch-module-monitor, with a standard deviation everywhere it takes a metric."""
    from torch_module_monitor import ModuleMonitor

    watch = ModuleMonitor(monitor_step_fn=lambda _step: True)
    watch.set_module(model)
    for add in (watch.add_activation_metric, watch.add_parameter_metric, watch.add_gradient_metric):
        add("std", lambda x: x.std())
    watch.begin_step(0)
    step(model, ids)
    watch.monitor_parameters()
    watch.monitor_gradients()
    watch.end_step()
    found: Readings = {}
    for key, value in watch.get_step_metrics().items():
        what, place, statistic = key.split("/")
        kinds = {"parameter": "weight", "gradient": "weight gradient"}
        found[place, kinds.get(what, kind_of(place)), statistic] = float(value)
    return found


def unit_scaling(model: GPT, ids: Tensor) -> Readings:
    """Track scales with unit-scaling: a node of the traced graph each, both ways."""
    from unit_scaling.transforms import track_scales

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the standard deviation of the loss, one number
        tracked: Any = track_scales(model)
        step(tracked, ids)
    found: Readings = {}
    for node in tracked.scales_graph().nodes:
        metrics, name = node.meta.get("metrics"), node.meta.get("clean_name", "")
        if metrics is not None:
            weight = bool(node.meta["requires_grad"])
            kind = "weight" if weight else "residual" if name.startswith("add") else "activation"
            found[name, kind, "std"] = metrics.fwd.std
            if metrics.bwd is not None:
                back = "weight gradient" if weight else "gradient"
                found[name, back, "std"] = metrics.bwd.std
    return found


def torchlens(model: GPT, ids: Tensor) -> Readings:
    """Trace with torchlens both ways, every operation kept, and take variances of what it kept."""
    import torchlens as lens

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lens.trace(gpt.Embedding(model.config), ids[:, :1])  # from here on torch is wrapped
        # A function bound before that would be missed, and make it run the model a second time.
        gpt.ACTIVATIONS.update(gelu=F.gelu)
        log = lens.trace(model, (ids[:, :-1], ids[:, 1:]),
                         capture=lens.options.CaptureOptions(save_grads=True))  # fmt: skip
        log.log_backward(log[log.output_layers[-1]].out)
    found: Readings = {}
    for one in log:
        kind = "residual" if one.layer_label.startswith("add") else "activation"
        for kept, what in ((one.out, kind), (one.grad, "gradient")):
            if isinstance(kept, Tensor) and kept.is_floating_point() and kept.numel() > 1:
                found[one.layer_label, what, "variance"] = kept.var().item()
    return found


def nndiagnostics(model: GPT, ids: Tensor) -> Readings:
    """Attach nndiagnostics, and have it print its report to nowhere."""
    from diagnostics import attach_diagnostics

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # modules whose inputs take no gradient
        attached = attach_diagnostics(model)
        step(model, ids)
    with redirect_stdout(io.StringIO()):
        report = attached.print_diagnostics(os.devnull)
    found: Readings = {}
    for key, dimensions in report.items():
        place, _, what = key.rpartition(".")
        last = dimensions[max(dimensions)] if dimensions else {}
        if "rms" in last:
            kinds = {"param_value": "weight", "param_grad": "weight gradient"}
            kind = "gradient" if what.startswith("grad") else kinds.get(what, kind_of(place))
            found[place, kind, "second_moment"] = last["rms"].square().mean().item()
    return found
