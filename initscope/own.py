"""Measuring a user's model: one that is given, or one that is built at several depths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import nn

from initscope import sweep
from initscope.anatomy import Anatomy
from initscope.anatomy.shape import shape
from initscope.config import GPTConfig
from initscope.devices import choose_device, choose_dtype, require_memory
from initscope.errors import MeasurementError, UsageError
from initscope.options import Options, Report
from initscope.profile import Profile, Run, concat, frame
from initscope.redraw import Redrawn, redraw
from initscope.resident import Feed, feed, measure
from initscope.resident.engine import Measured, locate
from initscope.resident.keeping import untouched
from initscope.resident.ranks import ALONE, Ranks
from initscope.resident.spread import class_name, ranks_of, share_of_ids
from initscope.rules.core import Rule
from initscope.target import Factory, token_ids
from initscope.tokens import describe

if TYPE_CHECKING:
    import pandas as pd

OWN = "own"  # the name of a model's own initialisation, beside the rules


@overload
def inspect(
    config: GPTConfig | int,
    rule: str | Rule = ...,
    options: Options | None = ...,
    *,
    report: Report | None = ...,
) -> Profile: ...
@overload
def inspect(
    config: nn.Module, rule: object = ..., options: Options | None = ..., *, blocks: str = ...
) -> Profile: ...
def inspect(
    config: GPTConfig | int | nn.Module,
    rule: Any = None,
    options: Options | None = None,
    *,
    report: Report | None = None,
    blocks: str = "",
) -> Profile:
    """Measure a rule on a GPT of some shape, or a model on a batch.

    ``inspect(48, "nanogpt")`` is :func:`initscope.sweep.inspect`. ``inspect(model, batch)``
    measures any module as it is: where it lies, in the mode it is in, at one depth, and leaves
    it as it was.

    Args:
        config: the shape, its depth alone, or a module.
        rule: a rule; for a module the batch, which is token ids (B, T + 1), each but the last
            an input with the next as its target, or the dictionary or tuple that it is called
            with. Without one, ids are made as ``options`` say. Each rank gives its own share.
        options: how to measure.
        report: called after each block of the streamed engine.
        blocks: the paths of the module's blocks, where they are not found.

    Raises:
        UsageError: for a request that cannot be right.
        MeasurementError: when memory does not suffice, or a module has nothing to differentiate.
    """
    if not isinstance(config, nn.Module):
        return sweep.inspect(config, rule or "nanogpt", options, report=report)
    options = options or Options()
    ranks = ranks_of(config)
    given = feed(config, share_of_ids(config, options, ranks) if rule is None else rule)
    found = measure(config, given, backward=not options.forward_only, blocks=blocks)
    run = run_of(found.anatomy, given, model=class_name(config), tokens=options.tokens, ranks=ranks)
    table = frame(OWN, found.anatomy.n_layer, 0, found.readings)
    return Profile(rule=OWN, config=_shape(found, given), run=run, table=table)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that can be built: again for each seed, and deeper or shallower.

    Args:
        factory: what builds it.
        batch: makes what it is called with; token ids are made where there is none.
        blocks: the paths of its blocks, where they are not found.
        rule: what draws its weights anew; None leaves its own.
    """

    factory: Factory
    batch: Callable[[], object] | None = None
    blocks: str = ""
    rule: Rule | None = None

    @property
    def name(self) -> str:
        """What the profile is called."""
        return OWN if self.rule is None else self.rule.name

    def depths(self, options: Options) -> list[int | None]:
        """Return the depths to measure, the deepest last; [None] where the depth is fixed."""
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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = factory.build()
        _require_memory_given(model, factory.target)
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        if device.type != "cpu":
            require_memory(device, 3 * size)
        return model.to(device, choose_dtype(options.dtype)).eval()

    def feed(self, model: nn.Module, options: Options, seed: int) -> Feed:
        """Return what to call the model with."""
        batch = self.batch() if self.batch else token_ids(model, options, self.factory, seed)
        return feed(model, batch)

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
        return redraw(anatomy, self.rule, describe_shape(anatomy, given), seed)

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
        target = self.factory.target
        run = run_of(found.anatomy, given, model=target, tokens=options.tokens)
        run = dataclasses.replace(run, seeds=tuple(seeds))
        return _shape(found, given), run, concat(tables)


# --- what is measured on what ---


def _require_memory_given(model: nn.Module, target: str) -> None:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    left = [name for name, tensor in tensors if tensor.is_meta]
    if left:
        raise MeasurementError(
            f"{target} leaves {len(left)} of {len(tensors)} tensors on the meta device ({left[0]} "
            "is one): name a factory that gives them memory and initialises them"
        )


def describe_shape(anatomy: Anatomy, given: Feed, vocab: int = 0) -> GPTConfig:
    """Return the nearest configuration to a model that was called so."""
    if not vocab and anatomy.wte is not None:
        vocab = getattr(anatomy.wte[1], "num_embeddings", 0)
    length = given.ids.shape[1] if given.ids is not None else 1
    return shape(anatomy, vocab_size=vocab or 1, seq_len=length)


def _shape(found: Measured, given: Feed) -> GPTConfig:
    return describe_shape(found.anatomy, given, found.vocab_size)


def run_of(anatomy: Anatomy, given: Feed, *, model: str, tokens: str, ranks: Ranks = ALONE) -> Run:
    """Describe how a model was measured: on what, and what its inputs were."""
    parameters = anatomy.parameters
    batch, length = given.ids.shape if given.ids is not None else (0, 0)
    batch = ranks.over_shares(batch)
    first = parameters[0].parameter
    return Run(
        source="resident", device=str(first.device), dtype=str(first.dtype).removeprefix("torch."),
        tokens=describe(tokens, batch, length), batch=batch, seq_len=length, seeds=(0,),
        versions=sweep.versions(), model=model,
        parameters=sum(one.parameter.numel() for one in parameters),
    )  # fmt: skip
