"""Checks of the parameters: whether each is drawn as the rule says, and in the right place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from initscope import captions
from initscope.checks.core import Answer, Check, Evidence, not_measured
from initscope.notation import number
from initscope.rules.core import RESIDUAL
from initscope.sites import Parameter
from initscope.verdict import Status

Where = tuple[int, str]


def _values(evidence: Evidence, statistic: str) -> dict[Where, float]:
    """Return a weight statistic by (layer, label): the mean over seeds."""
    rows = evidence.profile.table
    rows = rows[
        (rows["n_layer"] == evidence.profile.config.n_layer)
        & (rows["direction"] == "weight")
        & (rows["statistic"] == statistic)
    ]
    means = rows.groupby(["layer", "site"], as_index=False, sort=False)["value"].mean()
    return {(layer, site): value for layer, site, value in means.itertuples(index=False)}


def _where(parameter: Parameter) -> Where:
    return parameter.site.layer, parameter.label


def _measured(evidence: Evidence, statistic: str) -> Iterator[tuple[Parameter, float]]:
    values = _values(evidence, statistic)
    for parameter in evidence.parameters:
        value = values.get(_where(parameter))
        if value is not None:
            yield parameter, value


class _Off(NamedTuple):
    """A parameter that is not as it should be; the largest by ``amount`` is reported."""

    amount: float
    parameter: Parameter
    text: str


def parameter_std(evidence: Evidence) -> Answer:
    """Compare each parameter's std with what its rule prescribes."""
    prescribed = _values(evidence, "rule_std")
    measured = [
        (parameter, std, prescribed[_where(parameter)])
        for parameter, std in _stds(evidence) if _where(parameter) in prescribed
    ]  # fmt: skip
    bound = evidence.bounds.parameter_std
    if not measured:
        return not_measured("the profile does not say what the rule prescribes")
    wrong = [
        _Off(off, parameter, f"std is {number(std)}, the rule says {number(want)}")
        for parameter, std, want in measured
        if (off := _deviation(std, want)) > bound + _sampling(evidence, parameter)
    ]
    if not wrong:
        return Answer(Status.KEPT, f"{len(measured)} parameters have the rule's std", bound=bound)
    labels = _labels(off.parameter for off in wrong)
    count = f" (off in {len(wrong)} of {len(measured)} parameters: {labels})"
    return _report(evidence, wrong, bound, Status.BROKEN, count)


def _stds(evidence: Evidence) -> Iterator[tuple[Parameter, float]]:
    for parameter, variance in _measured(evidence, "variance"):
        yield parameter, math.sqrt(variance) if variance >= 0 else math.nan


def _deviation(std: float, want: float) -> float:
    """Relative deviation; infinite where there should be none, or no number is left."""
    if math.isnan(std) or (want == 0 and std > 0):
        return math.inf
    return abs(std - want) / want if want else 0.0


def _sampling(evidence: Evidence, parameter: Parameter) -> float:
    """Five standard errors of a normal sample's std, relative."""
    entries = math.prod(parameter.shape) * len(evidence.profile.run.seeds)
    return 5 / math.sqrt(2 * entries)


def _labels(parameters: Iterable[Parameter]) -> str:
    return ", ".join(dict.fromkeys(parameter.label for parameter in parameters))


def _report(
    evidence: Evidence, found: list[_Off], bound: float, status: Status, more: str = ""
) -> Answer:
    """Name the worst parameter and its place."""
    worst = max(found, key=lambda off: off.amount)
    layer, label = _where(worst.parameter)
    text = f"{worst.text} at {captions.place(evidence.profile, layer, label)}{more}"
    return Answer(status, text, worst.amount, bound=bound, layer=layer, site=label)


def parameter_outliers(evidence: Evidence) -> Answer:
    """Look for entries that no draw of that size would hold."""
    found = []
    for parameter, largest in _measured(evidence, "max_over_std"):
        if math.isfinite(largest):
            expected = math.sqrt(2 * math.log(max(2, math.prod(parameter.shape))))
            text = f"the largest entry is {number(largest)} standard deviations"
            found.append(_Off(largest - expected, parameter, text))
    bound = evidence.bounds.parameter_outlier
    if not found:
        return not_measured("no parameter that is not constant was recorded")
    beyond = max(off.amount for off in found)
    if beyond <= bound:
        return _report(evidence, found, bound, Status.KEPT)
    more = f", {number(beyond)} more than normals reach"
    return _report(evidence, found, bound, Status.BROKEN, more)


def scaled_off_stream(evidence: Evidence) -> Answer:
    """Find weights that shrink with depth though they do not write to the stream, or vice versa."""
    if len(evidence.depths) < 2:
        return not_measured("needs two depths")
    roles = ("q", "k", "v", "attn_out", "mlp_gate", "mlp_up", "mlp_down")
    scaled = {role for role in roles if evidence.shrinks(role)}
    if not scaled:
        return Answer(Status.KEPT, "no weight's std depends on depth")
    writing = RESIDUAL - set(evidence.zero_branches)
    off, missing = sorted(scaled - RESIDUAL), sorted(writing - scaled)
    if not (off and missing):
        return Answer(Status.KEPT, f"the depth-scaled weights are {', '.join(sorted(scaled))}")
    text = (
        f"{', '.join(off)} is scaled with depth but does not write to the residual stream; "
        f"{', '.join(missing)} does and is not"
    )
    return Answer(Status.BROKEN, text, layer=0, site=missing[0])


def never_initialised(evidence: Evidence) -> Answer:
    """Recognise PyTorch's own draw, U(±1/sqrt(fan_in)), where the rule says something else."""
    prescribed, peaks = _values(evidence, "rule_std"), _values(evidence, "max_abs")
    found: list[Parameter] = []
    matrices = 0
    for parameter, variance in _measured(evidence, "variance"):
        if len(parameter.shape) < 2 or parameter.site.role in {"wte", "wpe"}:
            continue
        matrices += 1
        where = _where(parameter)
        default = 1 / math.sqrt(3 * parameter.site.fan_in)
        error = 0.01 + 5 / math.sqrt(2 * math.prod(parameter.shape))
        std, told = math.sqrt(max(variance, 0.0)), prescribed.get(where, default)
        same = abs(std / default - 1) <= error
        bounded = peaks.get(where, math.inf) <= default * math.sqrt(3) * (1 + 1e-3)
        # A rule may prescribe as much, or so nearly that a small matrix fits both.
        meant = abs(told / default - 1) <= error or _deviation(std, told) <= error
        if same and bounded and not meant:
            found.append(parameter)
    if not matrices:
        return not_measured("no matrix was recorded")
    if not found:
        return Answer(Status.KEPT, f"none of {matrices} matrices holds PyTorch's default")
    first = found[0]
    text = f"{len(found)} of {matrices} matrices hold PyTorch's default U(±1/√fan_in)"
    return Answer(
        Status.BROKEN, f"{text}: {_labels(found)}",
        float(len(found)), layer=first.site.layer, site=first.label,
    )  # fmt: skip


CHECKS = (
    Check("IS012", "parameter-std", "Every parameter has the std that the rule prescribes.",
          parameter_std, bound="parameter_std"),
    Check("IS013", "parameter-outliers", "No parameter holds entries beyond its distribution.",
          parameter_outliers, bound="parameter_outlier"),
    Check("IS014", "scaled-weight-off-stream",
          "The weights that shrink with depth are those that write to the stream.",
          scaled_off_stream, reason="scaling the up projection instead of the down one leaves "
          "stream, branch and loss identical, and the scheme's purpose is lost (llama2.c #579)"),
    Check("IS015", "never-initialised", "No weight was left at PyTorch's default.",
          never_initialised, reason="the commonest bug of all is a rule that was written but "
          "never applied (transformers #43847, litgpt #1150)"),
)  # fmt: skip
