"""predict(GPTConfig, Rule) -> Profile: what a measurement would find, without a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from initscope import __version__
from initscope.config import GPTConfig
from initscope.options import Options
from initscope.profile import Profile, Run, concat
from initscope.rules import config_for, get_rule
from initscope.rules.core import Rule
from initscope.rules.variants import zeros_perturbed
from initscope.sites import embedding_parameters, head_parameters
from initscope.theory import coverage, recursion, retrace, tangents
from initscope.theory.block import Block
from initscope.theory.ends import Ends
from initscope.theory.gains import Gains
from initscope.theory.kernels import batch
from initscope.theory.matches import Matches, matches
from initscope.theory.outside import record_embedding, record_ends, record_head
from initscope.theory.readings import STREAM, record_activations, record_gradients
from initscope.theory.recursion import Forward, State
from initscope.theory.series import Series
from initscope.tokens import Ids

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.floating[Any]]


def predict(
    config: GPTConfig | int,
    rule: str | Rule = "nanogpt",
    options: Options | None = None,
    *,
    ids: Sequence[Ids] = (),
) -> Profile:
    """Predict what :func:`initscope.inspect` measures, averaged over seeds, in milliseconds.

    The profile has the sites and statistics that theory knows, and for the stream and its
    gradient a ``spread``: the relative standard deviation between single seeds. Where theory
    does not hold it has no readings, and its run's ``remark`` says why. Of the shallower depths
    it has the stream and the parameters. docs/theory.md has every formula.

    Args:
        config: the model's shape, or its depth alone.
        rule: a rule's name, or a Rule.
        options: tokens and their number, as for a measurement; the device plays no part.
        ids: the very token ids (B, T + 1) of each seed, instead of those that options name.

    Raises:
        UsageError: for a request that cannot be right, or a model that theory does not cover.
    """
    rule, options = get_rule(rule), options or Options()
    if options.perturb_zeros:
        rule = zeros_perturbed(rule, options.perturb_zeros)
    if isinstance(config, int):
        config = config_for(rule, n_layer=config)
    coverage.require(config)
    *shallower, deepest = options.depths(config)
    given = [Matches.of(one) for one in ids]
    found = given or _matches(config, options, range(options.seeds))
    mean = Matches.mean(found)
    made = [_Depth(config.at_depth(depth), rule, options, STREAM, mean) for depth in shallower]
    made.append(_Depth(config.at_depth(deepest), rule, options, frozenset(), mean))
    table = concat([one.table() for one in made])
    if not given:  # what is given does not scatter
        more = _matches(config, options, range(options.seeds, max(options.seeds, SEEDS_OF_IDS)))
        table = _Ids(config, rule, options, [*found, *more]).widened(table)
    run = _run(config, options, made[-1].remark)
    return Profile(rule=rule.name, config=config, run=run, table=table)


SEEDS_OF_IDS = 8  # draws of ids that their scatter is taken from
DEPTH_OF_IDS = 48  # blocks at most that it is followed through; it goes with the relative depth


def _matches(config: GPTConfig, options: Options, seeds: Sequence[int]) -> list[Matches]:
    return matches(
        options.tokens, vocab_size=config.vocab_size, batch=options.batch,
        length=options.length(config), seeds=seeds,
    )  # fmt: skip


class _Ids:
    """What the draw of the ids adds to the spread: the change over one sd of their repetition."""

    def __init__(
        self, config: GPTConfig, rule: Rule, options: Options, found: Sequence[Matches]
    ) -> None:
        shallow = config.at_depth(min(config.n_layer, DEPTH_OF_IDS))
        low, high = (
            _Depth(shallow, rule, options, STREAM, one, scatter=False).table()
            for one in (Matches.mean(found), Matches.above(found))
        )
        self.place: dict[str, Array] = {}
        self.change: dict[str, Array] = {}
        for direction in ("forward", "backward"):
            before, after = (_stream(table, direction) for table in (low, high))
            self.place[direction] = (before.index.to_numpy() + 1) / shallow.n_layer
            ratio = after.reindex(before.index).to_numpy() / before.where(before > 0).to_numpy()
            self.change[direction] = np.nan_to_num(np.abs(np.log(ratio)))

    def widened(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table with every spread of a stream widened."""
        value = table["value"].to_numpy().copy()
        for direction, place in self.place.items():
            rows = ((table["statistic"] == "spread") & (table["direction"] == direction)).to_numpy()
            if len(place) and rows.any():
                depth = (table["layer"][rows] + 1) / table["n_layer"][rows]
                more = np.interp(depth, place, self.change[direction])
                value[rows] = np.hypot(value[rows], more)
        return table.assign(value=value)


def _stream(table: pd.DataFrame, direction: str) -> pd.Series[float]:
    """Return the stream's variance after each block."""
    rows = (
        (table["site"] == "resid_post") & (table["statistic"] == "variance")
        & (table["direction"] == direction)
    )  # fmt: skip
    return table[rows].set_index("layer")["value"]


def _run(config: GPTConfig, options: Options, remark: str) -> Run:
    from initscope.tokens import describe

    length = options.length(config)
    return Run(
        source="theory", device="none", dtype=options.dtype,
        tokens=describe(options.tokens, options.batch, length), batch=options.batch,
        seq_len=length, seeds=(0,), remark=remark,
        versions={"initscope": __version__, "numpy": np.__version__},
    )  # fmt: skip


class _Depth:
    """The prediction for one depth: of all sites or some, with the maps' part of scatter or not."""

    def __init__(
        self,
        config: GPTConfig,
        rule: Rule,
        options: Options,
        only: frozenset[str],
        found: Matches,
        *,
        scatter: bool = True,
    ) -> None:
        self.config, self.rule, self.scatter = config, rule, scatter
        self.series = Series(config.n_layer, only)
        pairs = batch(options.batch, options.length(config))
        self.gains, self.block = Gains(config, rule), Block(config, pairs)
        self.ends = Ends.of(config, rule, pairs, found)
        self._prescribed()
        gone = recursion.forward(self.block, self.gains, State(self.ends.start.stream, 1.0))
        self.remark, self.last = gone.remark, gone.steps[-1].stop - 1 if gone.steps else -1
        for step in gone.steps:
            record_activations(self.series, self.block, step)
        whole = not gone.remark
        back = self._head(gone, backward=not options.forward_only) if whole else None
        record_embedding(self.series, self.block, self.ends, back)

    def _prescribed(self) -> None:
        """Record what the rule prescribes: the parameters themselves."""
        for label, std in self.gains.stds.items():
            mean = self.gains.means[label]
            self.series.whole(
                label, "weight", second_moment=std**2 + mean**2, variance=std**2, mean=mean,
                rule_std=std,
            )  # fmt: skip
        for parameter in (*embedding_parameters(self.config), *head_parameters(self.config)):
            draw = self.rule.draw(parameter.site)
            self.series.add(
                parameter.site.layer, parameter.label, "weight", variance=draw.std**2,
                second_moment=draw.std**2 + draw.mean**2, mean=draw.mean, rule_std=draw.std,
            )  # fmt: skip

    def _head(self, gone: Forward, *, backward: bool) -> tuple[Array, float] | None:
        """Record the head and, where asked for, every gradient; return the embedding's."""
        end = gone.end.stream
        loss = self.ends.loss(end, gone.end.skipped)
        at_head = self.ends.gradient(loss, end.kernel) if backward else None
        record_head(self.series, self.ends, loss, at_head)
        if at_head is None:
            return None
        rough = end.moves.relative(self.block.size(end.kernel))
        gradient = self.ends.back(at_head, loss, rough)
        way = self.ends.way(end, loss, self.block.common(end))
        returned = list(retrace.backward(self.block, gone.steps, gradient, way))
        if self.scatter:
            returned = list(tangents.scattered(self.block, returned, gradient, way.repeats))
        for found in returned:
            record_gradients(self.series, self.block, found)
            gradient, way = found.gradients.pre, found.gradients.way
        record_ends(self.series, self.ends, loss, gradient)
        return gradient, math.sqrt(max(way.spread, 0.0))

    def table(self) -> pd.DataFrame:
        """Return the long table."""
        return self.series.table(self.rule.name, self.last)
