"""A user's model that can be built: at several depths, from several seeds, with any weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from initscope.anatomy import Anatomy
from initscope.checkpoint import Checkpoint
from initscope.config import GPTConfig
from initscope.devices import choose_device
from initscope.errors import MeasurementError, UsageError
from initscope.likeness import beside, run_of, shape_of
from initscope.options import Options, Report
from initscope.own.room import Limit, room
from initscope.own.staging import (
    Stage,
    allocation,
    hollow,
    paged_checkpoint,
    paged_draw,
    redraw_paged,
    require_hollow,
    require_memory_given,
    require_own,
    seeded,
)
from initscope.profile import Profile, Run, concat, frame
from initscope.redraw import Redrawn
from initscope.resident import Feed, feed
from initscope.resident.engine import Measured
from initscope.restore import restoring
from initscope.rules.core import Rule
from initscope.sweep import memory_errors
from initscope.target import Factory, token_ids

if TYPE_CHECKING:
    import pandas as pd

OWN = "own"  # the name of a model's own initialisation, beside the rules

ONE_DEPTH = "a checkpoint has one depth, so how the signal goes with the depth is not measured"


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
        checkpoint: what holds its weights, instead of a draw; ``label`` is then what the profile
            is called.
    """

    factory: Factory
    batch: Callable[[], object] | None = None
    blocks: str = ""
    rule: Rule | None = None
    against: Rule | None = None
    checkpoint: Checkpoint | None = None
    label: str = ""
    _decided: dict[Options, str] = field(default_factory=dict, init=False, compare=False)

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
        """Build the model from a seed, or a checkpoint, in eval mode, where it is to be measured.

        Raises:
            UsageError: for a checkpoint that does not fit.
            MeasurementError: where that fails, or leaves tensors on the meta device.
        """
        factory, at = self._at(depth), allocation(options)
        if self.checkpoint is not None:
            model = hollow(factory) or seeded(factory, 0)
            fit = restoring(model, self.checkpoint, factory.target)
            fit.fill(model, lambda tensor: tensor.to(at.device, at.dtype))
        else:
            model = seeded(factory, seed)
        require_memory_given(model, factory.target)
        return model.to(at.device, at.dtype).eval()

    def _at(self, depth: int | None) -> Factory:
        return self.factory if depth is None else self.factory.using({"n_layer": depth})

    def feed(self, model: nn.Module, options: Options, seed: int) -> Feed:
        """Return what to call the model with."""
        batch = self.batch() if self.batch else token_ids(model, options, self.factory, seed)
        return feed(model, batch)

    def paged(self, options: Options) -> str:
        """Return why one block at a time is to have weights; empty where all can.

        The deepest model decides, before any of it is allocated.

        Raises:
            MeasurementError: where there is memory for neither.
        """
        if options not in self._decided:  # a skeleton is built for it
            lack = self._lack(options)
            self._decided[options] = lack and f"{lack}: one block at a time gets weights"
        return self._decided[options]

    def require_whole(self, options: Options) -> None:
        """Refuse what does not fit into memory as a whole.

        Raises:
            MeasurementError: where it does not.
        """
        lack = self._lack(options)
        if lack:
            raise MeasurementError(f"{lack}; a smaller model needs less")

    def _lack(self, options: Options) -> str:
        factory, at = self._at(self.depths(options)[-1]), allocation(options)
        model = hollow(factory)
        if model is None:  # what it needs is known once it is built
            return ""
        ids = self.feed(model, options, 0).ids
        tokens = ids.numel() if ids is not None else 0
        needed = room(model, self.blocks, tokens, options, at)
        limit = Limit(factory.target, at, options.memory)
        held = limit.holds(needed, drawn=self.checkpoint is None)
        return "" if held else limit.says(needed)

    @property
    def left_out(self) -> str:
        """What a measurement leaves out, and why."""
        return ONE_DEPTH if self.checkpoint is not None else ""

    def locate(self, options: Options) -> tuple[Anatomy, Redrawn | None]:
        """Find the parts of the model, and what its rule would draw."""
        paged = bool(self.paged(options))
        stage = self.stage(self.depths(options)[-1], options, 0, paged=paged)
        return stage.locate(), stage.redrawn

    def stage(self, depth: int | None, options: Options, seed: int, *, paged: bool) -> Stage:
        """Build one model with what it is called with; ``paged`` has weights in one block."""
        if paged:
            return self._paged(depth, options, seed)
        model = self.build(depth, options, seed)
        stage = Stage(model, self.feed(model, options, seed), self.blocks, against=self.against)
        if self.rule is not None:
            stage.redraw(self.rule, seed)
        return stage

    def _paged(self, depth: int | None, options: Options, seed: int) -> Stage:
        factory, at = self._at(depth), allocation(options)
        model = require_hollow(factory, vectors=self.checkpoint is None)
        require = partial(require_own, factory, self.blocks, at)
        if self.checkpoint is not None:
            fit = restoring(model, self.checkpoint, factory.target)
            paging, own = paged_checkpoint(model, fit, self.blocks, at), None
        else:
            paging, own = paged_draw(model, self.blocks, at, seed)
        model.to(at.device, at.dtype).eval()
        given = self.feed(model, options, seed)
        stage = Stage(model, given, self.blocks, paging, against=self.against)
        if own is not None and self.rule is not None:
            redraw_paged(stage, self.rule, own, require, seed)
        elif own is not None:
            require()
        return stage

    def measure(
        self, depth: int | None, options: Options, seed: int, *, paged: bool = False
    ) -> tuple[Measured, Feed]:
        """Build one model and measure it."""
        with memory_errors(choose_device(options.device).device):
            stage = self.stage(depth, options, seed, paged=paged)
            return stage.measure(backward=not options.forward_only), stage.given

    def inspect(
        self, options: Options, report: Report | None = None, *, theory: bool = False
    ) -> Profile:
        """Measure every depth with every seed; ``theory`` sets what it says beside.

        Raises:
            UsageError: where another depth changes nothing.
        """
        seen = self._measured(options, range(options.seeds), report)
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
        table = self._measured(options, more, report).table
        run = dataclasses.replace(profile.run, seeds=(*profile.run.seeds, *more))
        return dataclasses.replace(profile, run=run, table=concat([profile.table, table]))

    def _measured(self, options: Options, seeds: Sequence[int], report: Report | None) -> _Seen:
        depths, paged = self.depths(options), bool(self.paged(options))
        tables, layers, done = [], set(), 0
        for depth in depths:
            fed: list[Feed] = []
            for seed in seeds:
                found, given = self.measure(depth, options, seed, paged=paged)
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
        run = dataclasses.replace(run, seeds=tuple(seeds), left_out=self.left_out)
        return _Seen(shape_of(found, given), run, concat(tables), found.anatomy, fed)
