"""The streamed engine: a GPT of any depth, forward and backward, a few blocks in memory at a time.

Forward keeps each block's input and lets its weights go; backward draws the same weights
again, recomputes the block and passes the gradient on. No weight takes a gradient: the norm of
each follows exactly from its layer's input and output gradient. Nothing is read on the host
before the end.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from initscope.config import GPTConfig
from initscope.crew import ALONE, Crew, Task, half_of_the_cores
from initscope.derive import derived
from initscope.ends import Ends
from initscope.gpt import Block
from initscope.plan import Finish, Kept, Painter, Plan, kept, read_outputs, working_blocks
from initscope.probe import Probe, pull_back
from initscope.profile import Reading
from initscope.recall import Outputs, places
from initscope.recorder import Recorder
from initscope.sites import block_parameters, model_site

BLOCK_SITES = (
    "resid_pre", "norm_1", "q", "k", "v", "attn", "norm_attn", "attn_out", "norm_1_out",
    "resid_mid", "norm_2", "mlp_gate", "mlp_up", "mlp_act", "norm_mlp", "mlp_down", "norm_2_out",
    "resid_post",
)  # fmt: skip


def measure(plan: Plan, ids: Tensor, seed: int) -> list[Reading]:
    """Measure one seed on token ids (B, T + 1): T inputs, each with the id that follows it."""
    with crew_for(plan) as crew:
        recorder = Recorder(crew)
        run(plan, ids, seed, recorder)
        readings = recorder.readings()
    return derived(plan.config, plan.rule, readings)


def crew_for(plan: Plan) -> AbstractContextManager[Crew]:
    """Return a crew for blocks that are small enough to work on several; else all do one."""
    several = working_blocks(plan.config, plan.allocation.dtype.itemsize) > 1
    return half_of_the_cores(plan.allocation.device) if several else nullcontext(ALONE)


def run(plan: Plan, ids: Tensor, seed: int, recorder: Recorder) -> None:
    """Carry one seed through the model, both ways, and show a recorder what passes."""
    painter = Painter(plan, seed, recorder)
    ends = Ends(plan, painter, ids)
    stream = _BlockStream(plan, painter, ids[:, 1:].numel())
    x = stream.forward(ends.embed())
    gradient = ends.loss(x, backward=plan.backward)
    if gradient is not None:
        ends.embedding_gradient(stream.backward(gradient))


class _BlockStream:
    """The blocks, one at a time: forward, then backward over the inputs that forward kept.

    With a crew there are two working blocks in forward, one of which is drawn meanwhile, and three
    in backward: one passes the gradient back, one is recomputed for the next turn, and one is
    drawn for the turn after it.
    """

    def __init__(self, plan: Plan, painter: Painter, tokens: int) -> None:
        self.plan, self.painter, self.recorder = plan, painter, painter.recorder
        self.crew = self.recorder.crew
        self._inputs: Tensor | None = None
        self._idle: list[Block] = []  # blocks whose weights are not needed any more
        self._there: dict[int, Block] = {}  # by the layer whose weights they hold, or will hold
        self._begun: dict[int, Finish] = {}
        layers, between = range(plan.config.n_layer), Kept(0, 0)
        if plan.backward:
            item = plan.allocation.dtype.itemsize
            between = kept(plan.config, item, tokens, plan.keep_bytes)
        self._first_kept = len(layers) - between.weights
        self._remembered = layers[len(layers) - between.outputs :]
        self._known: dict[int, Outputs] = {}  # of these layers

    def _new_block(self) -> Block:
        block = self.plan.allocation.empty(lambda: Block(self.plan.config))
        return block.requires_grad_(requires_grad=False)

    def _let_go(self, layer: int) -> None:
        """Take back a working block, whose weights are not needed any more; a kept one goes."""
        block = self._there.pop(layer)
        if layer < self._first_kept:
            self._idle.append(block)

    def _begin(self, layer: int, *, audit: bool) -> None:
        """Begin to draw the weights of ``layer``, unless they are there or on their way."""
        if layer in self._there or not 0 <= layer < self.plan.config.n_layer:
            return
        config, block = self.plan.config, self._idle.pop() if self._idle else self._new_block()
        self._there[layer] = block
        self._begun[layer] = self.painter.begin(block, block_parameters(config, layer), audit=audit)
        block.set_multipliers(self.plan.rule.multipliers(model_site(config, layer)))

    def _block(self, layer: int, *, audit: bool) -> Block:
        """Return the block with the weights of ``layer``."""
        self._begin(layer, audit=audit)
        if finish := self._begun.pop(layer, None):
            finish()
        return self._there[layer]

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
            self._known = places(x, read_outputs(self.plan.config), self._remembered)
        for layer in layers:
            if self._inputs is not None:
                self._inputs[layer] = x
            self.crew.catch_up()
            block = self._block(layer, audit=True)
            if self.crew:
                self._begin(layer + 1, audit=True)
            probe = self._probe(block, layer, backward=False)
            with probe, block.for_signal(self.crew, self._known.get(layer)):
                x = block(x)
            if layer < self._first_kept:
                self._let_go(layer)
            self.plan.progress("forward")
        self._idle.clear()  # to make room for logits: two blocks are soon drawn anew
        return x

    def backward(self, gradient: Tensor) -> Tensor:
        """Carry the gradient of the stream (B, T, C) back to the embedding.

        A crew recomputes the block before this one, and draws the one before that, meanwhile.
        """
        before: Task[_Recomputed] | None = None
        for layer in reversed(range(self.plan.config.n_layer)):
            recomputed = before or self._recompute(layer)
            self.crew.catch_up()
            self.crew.wait([recomputed])
            if self.crew and layer:
                before = self._recompute(layer - 1)
                self._begin(layer - 2, audit=False)
            x, output = recomputed.result()
            gradient = pull_back(output, x, gradient)
            self._let_go(layer)
            self.plan.progress("backward")
        return gradient

    def _recompute(self, layer: int) -> Task[_Recomputed]:
        """Have a block run again, so that a gradient can be passed back through it."""
        assert self._inputs is not None, "forward comes first"
        block = self._block(layer, audit=False)
        known = self._known.pop(layer, None)
        x = self._inputs[layer].detach().requires_grad_()

        def job() -> _Recomputed:
            probe = self._probe(block, layer, backward=True)
            with probe, block.for_gradient(self.crew, known), torch.enable_grad():
                return _Recomputed(x, block(x))

        return self.crew.submit(job, first=True)  # the next turn waits for it


class _Recomputed(NamedTuple):
    """A block's input and output (B, T, C), with the graph between them."""

    x: Tensor
    output: Tensor


def _measured_sites(config: GPTConfig) -> list[str]:
    """List the sites that a configuration has (in post norm the norm's output is the stream)."""
    norms = {site for site in BLOCK_SITES if site.startswith("norm")}
    absent = norms - config.block_norms | (set() if config.gated else {"mlp_gate"})
    return [site for site in BLOCK_SITES if site not in absent]
