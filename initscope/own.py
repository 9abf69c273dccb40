"""Measuring a user's model: one that is given, or one that is built at several depths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import torch
from torch import nn

from initscope import sweep
from initscope.anatomy import Anatomy
from initscope.config import GPTConfig
from initscope.devices import choose_device, choose_dtype, require_memory
from initscope.errors import MeasurementError, UsageError
from initscope.likeness import beside, describe, prescribed, run_of, shape_of
from initscope.options import Options, Report
from initscope.profile import Profile, Run, concat, frame
from initscope.redraw import Redrawn, redraw
from initscope.resident import Feed, feed, measure
from initscope.resident.engine import Measured, locate
from initscope.resident.keeping import untouched
from initscope.resident.spread import class_name, ranks_of, share_of_ids
from initscope.rules import get_rule
from initscope.rules.core import Rule
from initscope.target import Factory, token_ids

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
    config: nn.Module,
    rule: object = ...,
    options: Options | None = ...,
    *,
    blocks: str = ...,
    against: str | Rule = ...,
) -> Profile: ...
def inspect(
    config: GPTConfig | int | nn.Module,
    rule: Any = None,
    options: Options | None = None,
    *,
    report: Report | None = None,
    blocks: str = "",
    against: str | Rule = "",
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
        against: the rule that the module should follow; what theory says of it stands beside.

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
    asked = get_rule(against) if against else None
    readings = [*found.readings, *prescribed(found.anatomy, given, asked)]
    run = run_of(found.anatomy, given, model=class_name(config), tokens=options.tokens, ranks=ranks)
    table = frame(OWN, found.anatomy.n_layer, 0, readings)
    profile = Profile(rule=OWN, config=shape_of(found, given), run=run, table=table)
    return beside(profile, asked, options, found.anatomy, [given]) if asked else profile


class _Seen(NamedTuple):
    """What several measurements gave; ``anatomy`` is the last's, ``given`` the deepest ones'."""

    config: GPTConfig
    run: Run
    table: pd.DataFrame
    anatomy: Anatomy
    given: list[Feed]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that can be built: again for each seed, and deeper or shallower.

    Args:
        factory: what builds it.
        batch: makes what it is called with; token ids are made where there is none.
        blocks: the paths of its blocks, where they are not found.
        rule: what draws its weights anew; None leaves its own.
        against: the rule that its own draw should follow; None holds it against none.
    """

    factory: Factory
    batch: Callable[[], object] | None = None
    blocks: str = ""
    rule: Rule | None = None
    against: Rule | None = None

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
        return redraw(anatomy, self.rule, describe(anatomy, given), seed)

    def measure(self, depth: int | None, options: Options, seed: int) -> tuple[Measured, Feed]:
        """Build one model and measure it."""
        model = self.build(depth, options, seed)
        given = self.feed(model, options, seed)
        drawn = self._redraw(model, given, None, seed)
        backward = not options.forward_only
        found = measure(model, given, backward=backward, blocks=self.blocks)
        told = drawn.prescribed if drawn else prescribed(found.anatomy, given, self.against)
        return found._replace(readings=[*found.readings, *told]), given

    def inspect(
        self, options: Options, report: Report | None = None, *, theory: bool = False
    ) -> Profile:
        """Measure every depth with every seed; ``theory`` sets what it says beside.

        Raises:
            UsageError: where another depth changes nothing.
        """
        seen = self._measure_seeds(options, range(options.seeds), report)
        profile = Profile(rule=self.name, config=seen.config, run=seen.run, table=seen.table)
        rule, drawn = self.rule or self.against, self.rule is not None
        if rule is None or not theory:
            return profile
        return beside(profile, rule, options, seen.anatomy, seen.given, drawn=drawn)

    def extend(
        self, profile: Profile, options: Options, seeds: int, report: Report | None = None
    ) -> Profile:
        """Return a profile with more seeds: ``seeds`` in all."""
        more = range(len(profile.run.seeds), seeds)
        table = self._measure_seeds(options, more, report).table
        run = dataclasses.replace(profile.run, seeds=(*profile.run.seeds, *more))
        return dataclasses.replace(profile, run=run, table=concat([profile.table, table]))

    def _measure_seeds(
        self, options: Options, seeds: Sequence[int], report: Report | None
    ) -> _Seen:
        depths = self.depths(options)
        tables, layers, done = [], set(), 0
        for depth in depths:
            fed: list[Feed] = []
            for seed in seeds:
                found, given = self.measure(depth, options, seed)
                fed.append(given)
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
        run = run_of(found.anatomy, given, model=self.factory.target, tokens=options.tokens)
        run = dataclasses.replace(run, seeds=tuple(seeds))
        return _Seen(shape_of(found, given), run, concat(tables), found.anatomy, fed)


def _require_memory_given(model: nn.Module, target: str) -> None:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    left = [name for name, tensor in tensors if tensor.is_meta]
    if left:
        raise MeasurementError(
            f"{target} leaves {len(left)} of {len(tensors)} tensors on the meta device ({left[0]} "
            "is one): name a factory that gives them memory and initialises them"
        )
