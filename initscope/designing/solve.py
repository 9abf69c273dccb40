"""Turning the knobs until theory meets the targets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from initscope.config import GPTConfig
from initscope.designing import quantities
from initscope.designing.bracket import bracket, outwards
from initscope.designing.knobs import EXACT, Knobs, Values
from initscope.designing.targets import Targets
from initscope.errors import UsageError
from initscope.notation import number
from initscope.options import Options
from initscope.profile import Profile
from initscope.theory import predict

Array = npt.NDArray[np.float64]

NEAR = 1e-3  # relative: theory itself errs by more
STEP = 1e-4  # for the derivatives, in the logarithm of a knob


class Problem:
    """What a rule is designed for, on which model, from which base."""

    def __init__(self, config: GPTConfig, knobs: Knobs, targets: Targets, options: Options) -> None:
        self.config, self.knobs, self.targets = config, knobs, targets
        forward = targets.gradient_ratio is None
        self.options = dataclasses.replace(options, depth_law=False, forward_only=forward)
        self.profile = lru_cache(maxsize=64)(self._profile)
        self.turned = dict(self._turned())

    def _profile(self, values: Values) -> Profile:
        # A factor far beyond what is wanted may overflow, which is an answer too.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return predict(self.config, self.knobs.rule("designed", values, EXACT), self.options)

    def _turned(self) -> Iterator[tuple[str, Callable[[Profile], float]]]:
        """Yield each knob that is turned, and how far its quantity is from the target."""
        said, name = self.targets, self.main
        wanted = getattr(said, name)
        if wanted is None and self.config.norm != "post":
            wanted = self._kept()
        if wanted is not None:
            yield "branches", lambda profile: _off(profile, name, wanted)
        if name == "gradient_ratio" and said.final_variance is not None:
            variance = said.final_variance
            yield "embedding", lambda profile: _off(profile, "final_variance", variance)
        if said.attention_share is not None:
            odds = said.attention_share / (1 - said.attention_share)
            yield "split", lambda profile: math.log(_odds(profile) / odds)
        if said.layer_evenness:
            yield "tilt", quantities.tilt

    @property
    def main(self) -> str:
        """The target that the branches have to meet.

        Where both final variance and growth are asked for they say what the embedding is to be.
        """
        both = self.targets.growth is not None and self.targets.final_variance is not None
        return (not both and self.targets.relative) or "final_variance"

    def _kept(self) -> float:
        """Return what the base ends in, which holds where no target says how much is added.

        Raises:
            UsageError: where the base adds nothing, or theory does not come to its end.
        """
        found = quantities.read(predict(self.config, self.knobs.base, self.options))
        if not found.growth > 1 + NEAR:
            raise UsageError(
                f"{self.knobs.base.name} has no growth of the stream that could be kept, so say "
                "how much the branches are to add with --final-variance or --growth too"
            )
        return found.final_variance

    def solve(self) -> Values:
        """Return where the knobs meet all targets.

        Raises:
            UsageError: for a target that cannot be reached, saying what can.
        """
        self._require_branches()
        values = Values(embedding=self._embedding())
        if self._asked():
            values = values._replace(branches=self._alone(values))
            if len(self.turned) == 1:
                return values
        return self._together(self._guessed(values))

    def _asked(self) -> bool:
        """Whether a target says itself how much the branches add."""
        return getattr(self.targets, self.main) is not None

    def _embedding(self) -> float:
        """Return the factor on the embedding where it follows from the targets alone."""
        start = quantities.read(self.profile(Values()))
        embedding = start.final_variance / start.growth
        if self.targets.growth is not None and self.targets.final_variance is not None:
            return math.sqrt(self.targets.final_variance / self.targets.growth / embedding)
        if self.config.norm == "post" and self.main == "gradient_ratio":
            return math.sqrt(start.final_variance / embedding)  # as the norms leave it
        return 1.0

    def _require_branches(self) -> None:
        added = quantities.added_by_layer(self.profile(Values())).sum()
        silent = [str(name) for name, value in added.items() if value == 0]
        if (silent and "split" in self.turned) or len(silent) == 2:
            raise UsageError(
                f"{' and '.join(silent)} of {self.knobs.base.name} would add nothing to the "
                "stream at any std, because what it is given is 0; choose another --like"
            )

    # --- one knob: a bracket, and Brent's method ---

    def _alone(self, start: Values) -> float:
        """Return the factor on the branches that meets their target, all else as it is."""
        from scipy.optimize import brentq

        def off(log: float) -> float:
            moved = start._replace(branches=math.exp(log))
            return self.turned["branches"](self.profile(moved))

        found = bracket(off)
        if found is None:
            ends = [off(place) for sign in (-1, 1) for place in outwards(off, sign)]
            raise self._unreachable([end for end in ends if not math.isnan(end)])
        return math.exp(brentq(off, *found, xtol=STEP / 10))

    def _unreachable(self, distances: list[float]) -> UsageError:
        """Build the error that says what can be reached instead."""
        wanted = getattr(self.targets, self.main)
        flag = f"--{self.main.replace('_', '-')} {wanted:g} cannot be reached"
        if not distances:
            remark = self.profile(Values(embedding=self._embedding())).run.remark
            return UsageError(f"{flag} as far as theory holds: {remark}")
        low, high = (wanted * math.exp(end) for end in (min(distances), max(distances)))
        if high < low * (1 + NEAR):
            why = ", because a norm follows each sum" * (self.config.norm == "post")
            return UsageError(f"{flag}: it is {number(low)} whatever the std of the branches{why}")
        if wanted < low and self.main != "gradient_ratio":
            return UsageError(f"{flag}: {self._least(low)}")
        return UsageError(
            f"{flag}: as far as theory holds, what the branches' std alone can reach is "
            f"{number(low)} to {number(high)}"
        )

    def _least(self, low: float) -> str:
        if self.targets.growth is not None:
            return f"it is {number(low)} where the branches add nothing, and only above"
        said = f"the branches add to the embedding's {number(low)}, so that only more can"
        return f"{said}, unless --growth or --gradient-ratio beside it scales the embedding too"

    # --- several: a guess in closed form, and Powell's hybrid method ---

    def _guessed(self, values: Values) -> Values:
        """Return a start: what is added goes as a factor's square, and the stream as both."""
        if "split" in self.turned:
            share = self.targets.attention_share or 0.5
            odds = _odds(self.profile(values)) / (share / (1 - share))
            whole = quantities.added_by_layer(self.profile(values)).sum()
            attention, mlp = (float(whole[name]) for name in ("attn_out", "mlp_down"))
            kept = (attention + mlp) / (attention / math.sqrt(odds) + mlp * math.sqrt(odds))
            values = values._replace(split=odds**-0.25, branches=values.branches * math.sqrt(kept))
        if "embedding" in self.turned:
            found = quantities.value(self.profile(values), "final_variance")
            both = math.sqrt((self.targets.final_variance or found) / found)
            values = values._replace(embedding=both, branches=values.branches * both)
        return values

    def _together(self, start: Values) -> Values:
        """Turn all knobs at once, in their logarithms.

        Raises:
            UsageError: where no place meets all targets.
        """
        from scipy.optimize import root

        def off(x: Array) -> list[float]:
            profile = self.profile(self._at(start, x))
            return [distance(profile) for distance in self.turned.values()]

        found = root(off, np.zeros(len(self.turned)), options={"eps": STEP, "xtol": STEP})
        distances = off(found.x)
        if not max(map(abs, distances)) < NEAR:  # not even where one is NaN
            raise UsageError(
                f"no rule like {self.knobs.base.name} was found that has {self.targets.words} "
                "together; name fewer targets"
            )
        return self._at(start, found.x)

    def _at(self, start: Values, x: Array) -> Values:
        moved = start._asdict()
        for name, step in zip(self.turned, x.tolist(), strict=True):
            moved[name] = step if name == "tilt" else moved[name] * math.exp(step)
        return Values(**moved)


def _off(profile: Profile, name: str, wanted: float) -> float:
    """Return the logarithm of a quantity over what it should be."""
    value = quantities.value(profile, name)
    return math.log(value / wanted) if value > 0 else math.nan


def _odds(profile: Profile) -> float:
    share = quantities.value(profile, "attention_share")
    return share / (1 - share)
