"""compare(Profile, baseline) -> Finding: what has moved by more than chance and tolerance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from initscope.baseline.series import Key, Series, series_of
from initscope.errors import UsageError
from initscope.growth import standard_error
from initscope.notation import number, share
from initscope.profile import Profile, Run
from initscope.store.schema import configuration
from initscope.verdict import Finding, Status

CODE, NAME = "IS100", "baseline"
TOLERANCE = 0.1
_SUMMARY = "The signal and the weights are those of the baseline."

# Standard errors that a mean may be off: a normal one is beyond 5 once in two million, so that
# the hundreds of values of a profile, whose errors are themselves estimates, raise no alarm.
SIGMAS = 5.0

_SHOWN = 5  # series named besides the first
_ADVICE = "measure as it was, or save it again with --save-baseline"


class Change(NamedTuple):
    """A value then and now (NaN: not finite), and the sampling error of its change."""

    series: Series
    layer: int
    before: float
    after: float
    error: float

    @property
    def size(self) -> float:
        """The absolute difference, of the logarithms for what is compared by its ratio."""
        if self.before == self.after or (math.isnan(self.before) and math.isnan(self.after)):
            return 0.0
        if math.isnan(self.before) or math.isnan(self.after):
            return math.inf
        if not self.series.relative:
            return abs(self.after - self.before)
        low, high = sorted((self.before, self.after))
        return math.log(high) - math.log(low) if low > 0 else math.inf

    def excess(self, tolerance: float) -> float:
        """Return the size in units of what is allowed."""
        allowed = math.log1p(tolerance) if self.series.relative else tolerance
        return self.size / max(allowed, self.error)

    def in_units(self, size: float) -> float:
        """Express a size as the tolerance is: 0.1 is a factor of 1.1 either way, or 0.1."""
        if not self.series.relative:
            return size
        return math.expm1(size) if size < 700 else math.inf  # beyond, expm1 overflows

    def __str__(self) -> str:
        before, after = ("not finite" if math.isnan(v) else number(v) for v in self[2:4])
        text = f"{title(self.series.key)} at layer {self.layer} went from {before} to {after}"
        if not (math.isfinite(self.size) and self.series.relative):
            return f"{text} (sampling error {number(self.in_units(self.error))})"
        ratio = math.exp(math.copysign(min(self.size, 700.0), self.after - self.before))
        return f"{text}, ×{number(ratio)} (sampling error {share(self.in_units(self.error))})"


def title(key: Key) -> str:
    """Name a series: ``q weight second moment``, ``resid_post gradient second moment``.

    >>> title(Key("attn_out", "forward", "second_moment"))
    'attn_out second moment'
    """
    what = {"forward": "", "backward": "gradient "}.get(key.direction, f"{key.direction} ")
    statistic = key.statistic.replace("_", " ")
    return f"{'' if statistic.startswith(key.site) else f'{key.site} '}{what}{statistic}"


def compare(
    profile: Profile, entry: Mapping[str, Any] | None, tolerance: float = TOLERANCE
) -> list[Finding]:
    """Hold a profile against its check's entry in a baseline.

    Args:
        profile: what was measured, with any number of seeds.
        entry: ``checks[name]`` of a baseline; None if it has none of that name.
        tolerance: the relative change that is allowed, up or down (0.1: a factor of 1.1); for
            the token cosine, the attention entropy and the loss the absolute one.

    Raises:
        UsageError: for a baseline of another rule, shape, dtype or tokens, or of statistics
            that were not measured, and for a tolerance that is none.
    """
    if not 0 <= tolerance < math.inf:  # NaN fails any comparison
        raise UsageError(f"the baseline's tolerance must be at least 0, not {tolerance}")
    if entry is None:
        text = "the baseline has no check of this name; save it again with --save-baseline"
        return [_finding(Status.BROKEN, text, tolerance)]
    seeds = len(_require_same(profile, entry).seeds), len(profile.run.seeds)
    known = series_of(profile)
    changes = [change for saved in entry["series"] for change in _changes(saved, known, seeds)]
    moved = [change for change in changes if not change.excess(tolerance) <= 1]
    if moved:
        return [_broken(moved, len(changes), tolerance)]
    return [_kept(changes, known, seeds, tolerance)]


def _require_same(profile: Profile, entry: Mapping[str, Any]) -> Run:
    """Return how the baseline was measured, which must be how the profile was."""
    config, run = configuration(dict(entry))
    then = {"rule": entry["rule"], **config.to_dict(), **_conditions(run)}
    now = {"rule": profile.rule, **profile.config.to_dict(), **_conditions(profile.run)}
    other = [f"{k} {then[k]} then, {now[k]} now" for k in now if then[k] != now[k]]
    if other:
        raise UsageError(f"the baseline is of another measurement ({'; '.join(other)}): {_ADVICE}")
    return run


def _conditions(run: Run) -> dict[str, object]:
    # The device and the versions may differ; the tokens' description has batch and length in it.
    return {"source": run.source, "dtype": run.dtype, "tokens": run.tokens}


def _changes(
    saved: Mapping[str, Any], known: Mapping[Key, Series], seeds: tuple[int, int]
) -> Iterator[Change]:
    """Pair a series of the baseline with the one measured, layer by layer."""
    key = Key(saved["site"], saved["direction"], saved["statistic"])
    series = known.get(key)
    now = series.means(saved["layer"]) if series else None
    if series is None or now is None:
        raise UsageError(f"the baseline has {title(key)}, which was not measured: {_ADVICE}")
    for place, layer in enumerate(saved["layer"]):
        before = saved["mean"][place]
        error = math.hypot(
            standard_error(saved["spread"][place], seeds[0], series.prior),
            standard_error(float(now.spread[place]), seeds[1], series.prior),
        )
        yield Change(
            series, layer, math.nan if before is None else before, float(now.mean[place]),
            SIGMAS * error,
        )  # fmt: skip


def _broken(moved: Sequence[Change], count: int, tolerance: float) -> Finding:
    """Name what moved most; a weight before the signal, which it may have moved."""
    ordered = sorted(
        moved, key=lambda c: (c.series.key.direction != "weight", -c.excess(tolerance))
    )
    first = ordered[0]
    others = [name for name in _titles(ordered) if name != title(first.series.key)]
    more = f"; {len(moved)} of {count} values moved"
    if others:
        more += f", also of {', '.join(others[:_SHOWN])}"
    if len(others) > _SHOWN:
        more += f" and {len(others) - _SHOWN} more"
    return dataclasses.replace(
        _finding(Status.BROKEN, f"{first}{more}", tolerance),
        value=first.in_units(first.size), error=first.in_units(first.error),
        layer=first.layer, site=first.series.key.site,
    )  # fmt: skip


def _titles(changes: Sequence[Change]) -> list[str]:
    return list(dict.fromkeys(title(change.series.key) for change in changes))


def _kept(
    changes: Sequence[Change], known: Mapping[Key, Series], seeds: tuple[int, int], tolerance: float
) -> Finding:
    """Say how much was compared, and what could not be."""
    text = (
        f"{len(changes)} values agree with the baseline, to within {share(tolerance)} or the "
        f"sampling error (seeds then: {seeds[0]}, now: {seeds[1]})"
    )
    old = {change.series.key for change in changes}
    new = [title(key) for key in known if key not in old]
    if new:
        text += f"; not in the baseline: {', '.join(new)}"
    return _finding(Status.KEPT, text, tolerance)


def _finding(status: Status, message: str, tolerance: float) -> Finding:
    return Finding(
        code=CODE, name=NAME, status=status, message=message, summary=_SUMMARY, bound=tolerance
    )
