"""judge(Profile, Bounds) -> Verdict: run the checks, and say what the signal does and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from initscope.bounds import Bounds
from initscope.checks import CHECKS, EVERY, TRAINING, Check, Evidence, get_check
from initscope.profile import Profile
from initscope.verdict import Class, Finding, Level, Status, Verdict

# A cause comes before its effect: the first of these that is broken is the reason given.
_PRIORITY = (
    "as-predicted", "never-initialised", "scaled-weight-off-stream", "parameter-std",
    "parameter-outliers", "exponential-stream", "non-finite", "stream-growth", "gradient-growth",
    "depth-exponent", "attention-entropy", "exponential-gradient", "gradient-exponent",
)  # fmt: skip

# What a class rests on in training: the growth since the first profile, and at first over layers.
_GROWTH = {
    "forward": ("stream-growth", "exponential-stream"),
    "backward": ("gradient-growth", "exponential-gradient"),
}

_TRAITS = {
    "rank-collapse": "rank collapse",
    "dead-branch": "dead branches",
    "attention-entropy": "saturated attention",
    "initial-loss": "hot logits",
    "loss-above-guessing": "worse than guessing",
    "dead-units": "dead units",
    "token-collapse": "rank collapse",
}


def judge(
    profile: Profile,
    bounds: Bounds | None = None,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    levels: Mapping[str, Level] | None = None,
    since: Profile | None = None,
) -> Verdict:
    """Judge a profile; that of a training run's step by the checks for training.

    Args:
        profile: what was measured.
        bounds: what is allowed.
        select: codes, names or prefixes of codes (``IS01``) to run; all if empty.
        ignore: those to leave out.
        levels: ``error`` or ``warn`` for a code or name, instead of the check's own.
        since: the training run's first profile, for what is judged beside it.

    Raises:
        UsageError: for a check that does not exist.
    """
    training = profile.run.step is not None
    reporting = selected(select, ignore, training=training)
    evidence = Evidence(profile, bounds or Bounds(), since if since is not profile else None)
    chosen = {get_check(name).code: level for name, level in (levels or {}).items()}
    # Every check runs: the classes and traits below rest on them, whatever is reported.
    checks = TRAINING if training else CHECKS
    found = {c.name: c.find(evidence, chosen.get(c.code)) for c in checks.values()}
    reported = tuple(found[check.name] for check in reporting)
    return Verdict(
        rule=profile.rule,
        n_layer=profile.config.n_layer,
        seeds=0 if profile.run.predicted else len(profile.run.seeds),
        forward=_since(evidence, found, "forward") if training else _forward(evidence, found),
        backward=_since(evidence, found, "backward") if training else _backward(evidence, found),
        findings=reported,
        reason=_reason(reported),
        traits=tuple(_traits(found)),
        step=profile.run.step,
    )


def selected(
    select: Sequence[str] = (), ignore: Sequence[str] = (), *, training: bool = False
) -> list[Check]:
    """Return the checks that a selection names, of an initialisation or of a step of training.

    Raises:
        UsageError: for a name that fits no check.
    """
    checks = TRAINING if training else CHECKS
    wanted = _codes(select) if select else set(checks)
    return [check for code, check in checks.items() if code in wanted - _codes(ignore)]


def _codes(names: Sequence[str]) -> set[str]:
    codes: set[str] = set()
    for name in names:
        fitting = {code for code in EVERY if name and code.startswith(name.upper())}
        codes |= fitting or {get_check(name).code}
    return codes


def _is(finding: Finding, status: Status) -> bool:
    return finding.status is status


def _traits(found: Mapping[str, Finding]) -> Iterator[str]:
    """Yield what else is worth a word in the headline."""
    yield from (
        text for name, text in _TRAITS.items() if name in found and _is(found[name], Status.BROKEN)
    )
    exponents = [found[name] for name in ("depth-exponent", "gradient-exponent") if name in found]
    if any(_is(f, Status.KEPT) and (f.value or 0) > (f.bound or 0) for f in exponents):
        yield "by design of the norm"


def _since(evidence: Evidence, found: dict[str, Finding], direction: str) -> Class:
    """Say what the signal does in training, beside the run's first profile."""
    lost = evidence.overflow
    growth, exponential = (found[name] for name in _GROWTH[direction])
    if lost is not None:
        return Class.EXPLODES if lost.direction == direction else Class.UNKNOWN
    if _is(exponential, Status.BROKEN) and (exponential.value or 0) < 0:
        return Class.VANISHES
    if _is(growth, Status.BROKEN) or _is(exponential, Status.BROKEN):
        return Class.EXPLODES
    return Class.BOUNDED if _is(growth, Status.KEPT) else Class.UNKNOWN


def _forward(evidence: Evidence, found: dict[str, Finding]) -> Class:
    if evidence.overflow is not None and evidence.overflow.direction == "forward":
        return Class.EXPLODES
    return _trend(evidence, found["exponential-stream"], found["depth-exponent"])


def _backward(evidence: Evidence, found: dict[str, Finding]) -> Class:
    curve = evidence.readings("resid_post", "backward", "second_moment")
    lost = evidence.overflow
    if curve.empty or (lost is not None and lost.direction == "forward"):
        return Class.UNKNOWN
    if lost is not None:
        return Class.EXPLODES
    if (curve.iloc[0] == 0).any():
        return Class.ZERO if evidence.zero_head else Class.VANISHES
    return _trend(evidence, found["exponential-gradient"], found["gradient-exponent"])


def _trend(evidence: Evidence, exponential: Finding, exponent: Finding) -> Class:
    if _is(exponential, Status.BROKEN):
        return Class.EXPLODES if (exponential.value or 0) > 0 else Class.VANISHES
    steady = _is(exponent, Status.NOT_MEASURED) or _is(exponent, Status.KEPT)
    if steady and len(evidence.zero_branches) == 2:
        return Class.ZERO
    if _is(exponent, Status.NOT_MEASURED):
        return Class.UNKNOWN
    if _is(exponent, Status.INCONCLUSIVE):
        return Class.INCONCLUSIVE
    if (exponent.value or 0) > (exponent.bound or 0):
        return Class.GROWS
    return Class.VANISHES if _is(exponent, Status.BROKEN) else Class.BOUNDED


def _reason(findings: Sequence[Finding]) -> str:
    """Give the broken finding that comes first as a cause, or else what could not be decided."""
    order = {name: place for place, name in enumerate(_PRIORITY)}
    open_ = [f for f in findings if _is(f, Status.BROKEN) or _is(f, Status.INCONCLUSIVE)]
    open_.sort(
        key=lambda f: (
            f.level is not Level.ERROR, not _is(f, Status.BROKEN), order.get(f.name, len(order))
        )
    )  # fmt: skip
    return open_[0].message if open_ else ""
