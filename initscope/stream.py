"""The streamed engine: a GPT of any depth, forward and backward, one block in memory at a time.

Forward keeps each block's input and lets its weights go; backward draws the same weights
again, recomputes the block and passes the gradient on. No weight takes a gradient: the norm of
each follows exactly from its layer's input and output gradient. Nothing is read on the host
before the end.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from initscope.config import GPTConfig
from initscope.derive import derived
from initscope.ends import Ends
from initscope.gpt import Block
from initscope.plan import Painter, Plan
from initscope.probe import Probe, pull_back
from initscope.profile import Reading
from initscope.readout import Recorder
from initscope.sites import block_parameters, model_site

BLOCK_SITES = (
    "resid_pre", "norm_1", "q", "k", "v", "attn", "norm_attn", "attn_out", "norm_1_out",
    "resid_mid", "norm_2", "mlp_gate", "mlp_up", "mlp_act", "norm_mlp", "mlp_down", "norm_2_out",
    "resid_post",
)  # fmt: skip


def measure(plan: Plan, ids: Tensor, seed: int) -> list[Reading]:
    """Measure one seed on token ids (B, T + 1): T inputs, each with the id that follows it."""
    recorder = Recorder()
    run(plan, ids, seed, recorder)
    return derived(plan.config, plan.rule, recorder.readings())


def run(plan: Plan, ids: Tensor, seed: int, recorder: Recorder) -> None:
    """Carry one seed through the model, both ways, and show a recorder what passes."""
    painter = Painter(plan, seed, recorder)
    ends = Ends(plan, painter, ids)
    stream = _BlockStream(plan, painter, recorder)
    x = stream.forward(ends.embed())
    gradient = ends.loss(x, backward=plan.backward)
    if gradient is not None:
        ends.embedding_gradient(stream.backward(gradient))


class _BlockStream:
    """The blocks, one at a time: forward, then backward over the inputs that forward kept."""

    def __init__(self, plan: Plan, painter: Painter, recorder: Recorder) -> None:
        self.plan, self.painter, self.recorder = plan, painter, recorder
        self._inputs: Tensor | None = None
        self._kept: dict[int, Block] = {}
        self._working = self._new_block()
        self._drawn = -1  # the layer whose weights the working block holds
        size = sum(p.numel() * p.element_size() for p in self._working.parameters())
        self._first_kept = plan.config.n_layer - plan.keep_bytes // size if plan.backward else size

    def _new_block(self) -> Block:
        block = self.plan.allocation.empty(lambda: Block(self.plan.config))
        return block.requires_grad_(requires_grad=False)

    def _block(self, layer: int, *, audit: bool) -> Block:
        """Return the block with the weights of ``layer``, drawing them unless they are there."""
        if layer in self._kept:
            return self._kept[layer]
        if layer == self._drawn:
            return self._working
        block = self._working
        if layer >= self._first_kept:
            block = self._kept[layer] = self._new_block()
        else:
            self._drawn = layer
        config = self.plan.config
        self.painter.draw(block, block_parameters(config, layer), audit=audit)
        block.set_multipliers(self.plan.rule.multipliers(model_site(config, layer)))
        return block

    def _probe(self, block: Block, layer: int, *, backward: bool) -> AbstractContextManager[Probe]:
        sites = {name: getattr(block, name) for name in _measured_sites(self.plan.config)}
        return Probe(
            self.recorder, {**sites, "attn_weights": block.attend}, layer=layer,
            forward=not backward, backward=backward, activation=self.plan.config.activation,
        )  # fmt: skip

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Carry the stream (B, T, C) through all blocks."""
        layers = range(self.plan.config.n_layer)
        if self.plan.backward:  # one memory for all: the heap would fragment around many
            self._inputs = x.new_empty(len(layers), *x.shape)
        for layer in layers:
            if self._inputs is not None:
                self._inputs[layer] = x
            block = self._block(layer, audit=True)
            with self._probe(block, layer, backward=False):
                x = block(x)
            self.plan.progress("forward")
        return x

    def backward(self, gradient: Tensor) -> Tensor:
        """Carry the gradient of the stream (B, T, C) back to the embedding."""
        assert self._inputs is not None, "forward comes first"
        for layer in reversed(range(self.plan.config.n_layer)):
            block = self._block(layer, audit=False)
            x = self._inputs[layer].detach().requires_grad_()
            probe = self._probe(block, layer, backward=True)
            with probe, block.for_gradient(), torch.enable_grad():
                gradient = pull_back(block(x), x, gradient)
            self._kept.pop(layer, None)
            self.plan.progress("backward")
        return gradient


def _measured_sites(config: GPTConfig) -> list[str]:
    """List the sites that a configuration has (in post norm the norm's output is the stream)."""
    norms = {site for site in BLOCK_SITES if site.startswith("norm")}
    absent = norms - config.block_norms | (set() if config.gated else {"mlp_gate"})
    return [site for site in BLOCK_SITES if site not in absent]
