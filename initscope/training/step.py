"""One watched step: what its forward and backward pass leave on the device, and its profile."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from initscope.anatomy import Anatomy, Labelled
from initscope.errors import UsageError
from initscope.likeness import describe, run_of
from initscope.own import OWN
from initscope.profile import Profile, frame
from initscope.readout import Key
from initscope.recorder import Recorder
from initscope.resident.engine import derived, record_weights
from initscope.resident.feed import Feed, understand
from initscope.resident.keeping import uncompiled
from initscope.resident.scope import Scope
from initscope.resident.watching import Watch


class StepWatch(Watch):
    """Records the sites of somebody else's step: gradients are seen as they pass, and stay."""

    def __init__(self, anatomy: Anatomy, recorder: Recorder, scope: Scope) -> None:
        super().__init__(anatomy, recorder, backward=True, scope=scope)
        self.differentiated = False
        self._weighed: set[tuple[int, str]] = set()

    def _hook_weight(self, one: Labelled) -> Any:  # noqa: ANN401 - a handle
        # Not once it is accumulated: other micro-batches may lie in it, or an optimiser that
        # steps inside the backward pass may have taken it.
        return one.parameter.register_hook(partial(self._on_weight_gradient, one))

    @torch.no_grad()
    def _on_weight_gradient(self, one: Labelled, gradient: Tensor) -> None:
        self.differentiated = True
        if (one.layer, one.label) not in self._weighed:
            self._weighed.add((one.layer, one.label))
            with torch.autocast(gradient.device.type, enabled=False):
                self._see_weight_gradient(one.layer, one.label, gradient)


class Step:
    """A step being watched, from before its forward pass until it is read out.

    Nothing is copied to the host, nor waited for, before :meth:`profile`.

    Args:
        number: the step's.
        anatomy: the model's parts.
        given: what the model is called with.
        scope: what is measured.
    """

    def __init__(self, number: int, anatomy: Anatomy, given: Feed, scope: Scope) -> None:
        self.number, self._anatomy, self._given, self._scope = number, anatomy, given, scope
        self._recorder = Recorder()
        self._watch = StepWatch(anatomy, self._recorder, scope)
        self._inside, self._compiling = ExitStack(), ExitStack()
        self._vocab, self.left = 0, False
        self._dtype = _compute_dtype(anatomy.parameters[0].parameter)

    def enter(self) -> None:
        """Begin to watch: what is compiled runs as it was written until :meth:`compile_again`."""
        record_weights(self._anatomy, self._recorder, self._scope.order)
        self._watch.__enter__()
        self._compiling.enter_context(uncompiled())
        if self._scope.attention:
            self._inside.enter_context(self._watch.attention())

    def leave(self, out: object) -> None:
        """Look at what the model returned; from here on only a backward pass is watched."""
        self._inside.close()
        if out is not None:
            self._see(out)
        self._watch.paused = self.left = True

    def _see(self, out: object) -> None:
        try:
            outcome = understand(out, self._given)
        except UsageError:
            return  # hidden states, say: there is a loss elsewhere
        if outcome.logits is not None:
            self._vocab = outcome.logits.shape[-1]
            self._watch.see_logits(outcome.logits)
        if outcome.loss is not None:
            self.see_loss(outcome.loss)

    def see_loss(self, loss: Tensor) -> None:
        """Keep the loss, once."""
        key = Key(self._anatomy.n_layer, "loss", "forward", "loss")
        if not self._recorder.has(key):
            self._recorder.add(key, loss.detach().float())

    def compile_again(self) -> None:
        """Run compiled what is; before, a checkpointed block must be recomputed as it ran."""
        self._compiling.close()

    @property
    def differentiated(self) -> bool:
        """Whether a backward pass has reached what is watched, and is over."""
        return self._watch.differentiated

    def close(self) -> None:
        """Remove every hook."""
        self._inside.close()
        self.compile_again()
        self._watch.__exit__()

    def profile(self, model: nn.Module) -> Profile:
        """Copy the statistics to the host, the one time that it waits for the device."""
        readings = derived(self._anatomy, self._recorder.readings(), self._vocab)
        run = run_of(
            self._anatomy, self._given, model=type(model).__name__, tokens="training batch"
        )
        run = dataclasses.replace(run, step=self.number, dtype=self._dtype)
        return Profile(
            rule=OWN, config=describe(self._anatomy, self._given, self._vocab), run=run,
            table=frame(OWN, self._anatomy.n_layer, 0, readings),
        )  # fmt: skip


def _compute_dtype(parameter: Tensor) -> str:
    """Return what matrices are multiplied in: autocast's, or else the parameters'."""
    device = parameter.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return str(dtype or parameter.dtype).removeprefix("torch.")
