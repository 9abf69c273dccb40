"""A user's model that can be built: at several depths, from several seeds, with any weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from initscope.anatomy import Anatomy
from initscope.checkpoint import Checkpoint
from initscope.config import GPTConfig
from initscope.devices import choose_device, choose_dtype, require_memory
from initscope.errors import MeasurementError, UsageError
from initscope.options import Options, Report
from initscope.own.describing import describe_model, describe_run
from initscope.profile import Profile, Run, concat, frame
from initscope.redraw import Redrawn, redraw
from initscope.resident import Feed, feed, measure
from initscope.resident.engine import Measured, locate
from initscope.resident.keeping import untouched
from initscope.restore import restoring
from initscope.rules.core import Rule
from initscope.skeleton import weightless
from initscope.target import Factory, token_ids

if TYPE_CHECKING:
    import pandas as pd

OWN = "own"  # the name of a model's own initialisation, beside the rules

ONE_DEPTH = "a checkpoint has one depth, so how the signal goes with the depth is not measured"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that can be built: again for each seed, and deeper or shallower.

    Args:
        factory: what builds it.
        batch: makes what it is called with; token ids are made where there is none.
        blocks: the paths of its blocks, where they are not found.
        rule: what draws its weights anew; None leaves its own.
        checkpoint: what holds its weights, instead of a draw; ``label`` is then what the profile
            is called.
    """

    factory: Factory
    batch: Callable[[], object] | None = None
    blocks: str = ""
    rule: Rule | None = None
    checkpoint: Checkpoint | None = None
    label: str = ""

    @property
    def name(self) -> str:
        """What the profile is called."""
        return self.label or (OWN if self.rule is None else self.rule.name)

    def depths(self, options: Options) -> list[int | None]:
        """Return the depths to measure, the deepest last; [None] where the depth is fixed."""
        if self.checkpoint is not None:
            return [None]
        depth = self.factory.value("n_layer")
        if not isinstance(depth, int) or not self.factory.depth_arg:
            return [None]
        shallower = (depth // 2, depth // 4) if options.depth_law else ()
        return sorted({depth, *shallower} - {0})

    def build(self, depth: int | None, options: Options, seed: int) -> nn.Module:
        """Build the model from a seed, in eval mode, where it is to be measured.

        Raises:
            MeasurementError: where that fails, or leaves tensors on the meta device.
        """
        factory = self.factory if depth is None else self.factory.using({"n_layer": depth})
        device = choose_device(options.device).device
        if self.checkpoint is not None:
            model = self._restore(self.checkpoint, factory, options)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = factory.build()
        _require_memory_given(model, factory.target)
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        if device.type != "cpu":
            require_memory(device, 3 * size)
        return model.to(device, choose_dtype(options.dtype)).eval()

    def _restore(self, checkpoint: Checkpoint, factory: Factory, options: Options) -> nn.Module:
        device, dtype = choose_device(options.device).device, choose_dtype(options.dtype)
        model = hollow(factory)
        fit = restoring(model, checkpoint, factory.target)
        fit.fill(model, lambda tensor: tensor.to(device, dtype))
        return model

    def feed(self, model: nn.Module, options: Options, seed: int) -> Feed:
        """Return what to call the model with."""
        batch = self.batch() if self.batch else token_ids(model, options, self.factory, seed)
        return feed(model, batch)

    @property
    def remark(self) -> str:
        """What a measurement leaves out, and why."""
        return ONE_DEPTH if self.checkpoint is not None else ""

    def locate(self, options: Options) -> tuple[Anatomy, Redrawn | None]:
        """Find the parts of the model, and what its rule would draw."""
        model = self.build(self.depths(options)[-1], options, 0)
        given = self.feed(model, options, 0)
        with untouched(model):
            anatomy = locate(model, given, self.blocks)
        return anatomy, self._redraw(model, given, anatomy, 0)

    def _redraw(
        self, model: nn.Module, given: Feed, anatomy: Anatomy | None, seed: int
    ) -> Redrawn | None:
        if self.rule is None:
            return None
        if anatomy is None:
            with untouched(model):
                anatomy = locate(model, given, self.blocks)
        return redraw(anatomy, self.rule, describe_model(anatomy, given), seed)

    def measure(self, depth: int | None, options: Options, seed: int) -> tuple[Measured, Feed]:
        """Build one model and measure it."""
        model = self.build(depth, options, seed)
        given = self.feed(model, options, seed)
        drawn = self._redraw(model, given, None, seed)
        backward = not options.forward_only
        found = measure(model, given, backward=backward, blocks=self.blocks)
        if drawn is not None:
            found = found._replace(readings=[*found.readings, *drawn.prescribed])
        return found, given

    def inspect(self, options: Options, report: Report | None = None) -> Profile:
        """Measure every depth with every seed.

        Raises:
            UsageError: where another depth changes nothing.
        """
        found, run, table = self._measure_seeds(options, range(options.seeds), report)
        return Profile(rule=self.name, config=found, run=run, table=table)

    def extend(
        self, profile: Profile, options: Options, seeds: int, report: Report | None = None
    ) -> Profile:
        """Return a profile with more seeds: ``seeds`` in all."""
        more = range(len(profile.run.seeds), seeds)
        _, _, table = self._measure_seeds(options, more, report)
        run = dataclasses.replace(profile.run, seeds=(*profile.run.seeds, *more))
        return dataclasses.replace(profile, run=run, table=concat([profile.table, table]))

    def _measure_seeds(
        self, options: Options, seeds: Sequence[int], report: Report | None
    ) -> tuple[GPTConfig, Run, pd.DataFrame]:
        depths = self.depths(options)
        tables, layers, done = [], set(), 0
        for depth in depths:
            for seed in seeds:
                found, given = self.measure(depth, options, seed)
                layers.add(found.anatomy.n_layer)
                tables.append(frame(self.name, found.anatomy.n_layer, seed, found.readings))
                done += 1
                if report is not None:
                    report(self.name, done, len(depths) * len(seeds))
        if len(layers) < len(depths):
            raise UsageError(
                f"{self.factory.depth_arg} of {self.factory.target} does not change the number "
                "of blocks; --depth-arg names the argument that does, --no-depth-law does without"
            )
        run = describe_run(options, found.anatomy, given, self.factory.target)
        run = dataclasses.replace(run, seeds=tuple(seeds), remark=self.remark)
        return describe_model(found.anatomy, given, found.vocab_size), run, concat(tables)


def hollow(factory: Factory, *, vectors: bool = False) -> nn.Module:
    """Build a model without its weights, or with them where its code looks at them.

    Raises:
        MeasurementError: where it cannot be built at all.
    """
    try:
        with weightless(vectors=vectors):
            return factory.build()
    except MeasurementError:
        with torch.random.fork_rng(devices=[]):
            return factory.build()


def _require_memory_given(model: nn.Module, target: str) -> None:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    left = [name for name, tensor in tensors if tensor.is_meta]
    if left:
        raise MeasurementError(
            f"{target} leaves {len(left)} of {len(tensors)} tensors on the meta device ({left[0]} "
            "is one): name a factory that gives them memory and initialises them"
        )
