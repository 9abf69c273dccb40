"""Checks of the parameters: whether each is drawn as the rule says, and in the right place."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

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


def _measured(evidence: Evidence, statistic: str) -> Iterator[tuple[Parameter, float]]:
    values = _values(evidence, statistic)
    for parameter in evidence.parameters:
        value = values.get((parameter.site.layer, parameter.label))
        if value is not None:
            yield parameter, value


def parameter_std(evidence: Evidence) -> Answer:
    """Compare each parameter's std with what its rule prescribes."""
    prescribed, worst, checked = _values(evidence, "rule_std"), (0.0, "", -1, ""), 0
    wrong: dict[str, int] = defaultdict(int)
    seeds = len(evidence.profile.run.seeds)
    for parameter, variance in _measured(evidence, "variance"):
        want = prescribed.get((parameter.site.layer, parameter.label))
        if want is None:
            continue
        checked += 1
        std = math.sqrt(variance) if variance >= 0 else math.nan
        off = abs(std - want) / want if want else (math.inf if std > 0 else 0.0)
        error = 5 / math.sqrt(2 * math.prod(parameter.shape) * seeds)
        if not off <= evidence.bounds.parameter_std + error:
            wrong[parameter.label] += 1
            text = f"{parameter.label} has std {number(std)}, the rule says {number(want)}"
            worst = max(worst, (off, text, parameter.site.layer, parameter.label))
    bound = evidence.bounds.parameter_std
    if not checked:
        return not_measured("the profile does not say what the rule prescribes")
    if not wrong:
        return Answer(Status.KEPT, f"{checked} parameters have the rule's std", bound=bound)
    off, text, layer, label = worst
    count = f"{text} (off in {sum(wrong.values())} of {checked} parameters: {', '.join(wrong)})"
    return Answer(Status.BROKEN, count, off, bound=bound, layer=layer, site=label)


def parameter_outliers(evidence: Evidence) -> Answer:
    """Look for entries that no draw of that size would hold."""
    worst, checked = (-math.inf, 0.0, -1, ""), 0
    for parameter, largest in _measured(evidence, "max_over_std"):
        if math.isfinite(largest):
            checked += 1
            expected = math.sqrt(2 * math.log(max(2, math.prod(parameter.shape))))
            worst = max(worst, (largest - expected, largest, parameter.site.layer, parameter.label))
    bound = evidence.bounds.parameter_outlier
    if not checked:
        return not_measured("no parameter that is not constant was recorded")
    beyond, largest, layer, label = worst
    status = Status.KEPT if beyond <= bound else Status.BROKEN
    text = f"the largest entry of {label} is {number(largest)} standard deviations"
    return Answer(status, text, beyond, bound=bound, layer=layer, site=label)


def scaled_off_stream(evidence: Evidence) -> Answer:
    """Find weights that shrink with depth though they do not write to the stream, or vice versa."""
    profile = evidence.profile
    depths = sorted(int(n) for n in profile.table["n_layer"].unique())
    if len(depths) < 2:
        return not_measured("needs two depths")
    roles = ("q", "k", "v", "attn_out", "mlp_gate", "mlp_up", "mlp_down")
    scaled = {role for role in roles if _falls(evidence, role, depths)}
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


def _falls(evidence: Evidence, role: str, depths: list[int]) -> bool:
    """Whether a weight's std in its first block is at least 10 % smaller at the largest depth."""
    stds = []
    for depth in (depths[0], depths[-1]):
        rows = evidence.profile.select(role, "weight", "variance", n_layer=depth)
        if rows.empty:
            return False
        stds.append(math.sqrt(float(rows.iloc[0].mean())))
    return stds[1] < 0.9 * stds[0]


def never_initialised(evidence: Evidence) -> Answer:
    """Recognise PyTorch's own draw, U(±1/sqrt(fan_in)), where the rule says something else."""
    prescribed, peaks = _values(evidence, "rule_std"), _values(evidence, "max_abs")
    found: list[Parameter] = []
    matrices = 0
    for parameter, variance in _measured(evidence, "variance"):
        if len(parameter.shape) < 2 or parameter.site.role in {"wte", "wpe"}:
            continue
        matrices += 1
        where = (parameter.site.layer, parameter.label)
        default = 1 / math.sqrt(3 * parameter.site.fan_in)
        error = 0.01 + 5 / math.sqrt(2 * math.prod(parameter.shape))
        same = abs(math.sqrt(max(variance, 0.0)) / default - 1) <= error
        bounded = peaks.get(where, math.inf) <= default * math.sqrt(3) * (1 + 1e-3)
        meant = abs(prescribed.get(where, default) / default - 1) <= error
        if same and bounded and not meant:
            found.append(parameter)
    if not matrices:
        return not_measured("no matrix was recorded")
    if not found:
        return Answer(Status.KEPT, f"none of {matrices} matrices holds PyTorch's default")
    first = found[0]
    text = f"{len(found)} of {matrices} matrices hold PyTorch's default U(±1/√fan_in)"
    return Answer(
        Status.BROKEN, f"{text}: {', '.join(dict.fromkeys(p.label for p in found))}",
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
