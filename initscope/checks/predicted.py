"""The check that every weight, and every step of the forward pass, is what theory says of the rule.

It names causes, not consequences: a weight is held against its rule, and an activation against
what is expected of it given what it reads (:mod:`initscope.theory.local`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import pandas as pd

from initscope.checks.causes import Weight, cause
from initscope.checks.core import Answer, Check, Evidence, not_measured
from initscope.checks.transfer import LEVEL, Held, Misfit, freedom, misfits
from initscope.glossary import SITES
from initscope.notation import layer_name, number
from initscope.origin.words import joined
from initscope.sites import Parameter, block_parameters
from initscope.verdict import Status

NAMED = 4  # sites at most in one sentence
# How far the expectations themselves are off: a norm's by what its epsilon does to single tokens,
# k (1 - k) c² where it keeps a share k of mean squares that vary by c from token to token.
SLACK = {"norm": 0.1, "attn": 0.05, "mlp_act": 0.02}
SLACK_OTHER = 0.01
# What a fused projection is called, and the roles that share it.
FUSED = {
    "qkv": ("q", "k", "v"), "qk": ("q", "k"), "kv": ("k", "v"),
    "mlp_gate_up": ("mlp_gate", "mlp_up"),
}  # fmt: skip
_ORDER = {site: place for place, site in enumerate(SITES)}


def as_predicted(evidence: Evidence) -> Answer:
    """Name the first site in the signal's flow that is not what the rule makes of it."""
    weights, steps = list(_weights(evidence)), list(_steps(evidence))
    if not steps and (not weights or evidence.profile.run.source != "resident"):
        return not_measured("no prediction stands beside the measurement")
    tests = len(weights) + len(steps)
    wrong = _wrong_weights(evidence, weights, tests)
    accused = {(one.site, layer) for one in wrong for layer in one.layers}
    other = [m for m in misfits(steps, tests) if not _explained(m, accused)]
    found = sorted([*wrong, *_causes(other, wrong)], key=_place)
    if not found:
        text = f"{len(weights)} parameters and {len(steps)} steps of the signal are as predicted"
        return Answer(Status.KEPT, text)
    said = list(_sentences(evidence, found, [w for w in weights if (w.label, w.layer) in accused]))
    more = [f"and {len(said) - NAMED} more sites"] if len(said) > NAMED else []
    first = found[0]
    return Answer(
        Status.BROKEN, "; ".join([*said[:NAMED], *more]), first.ratio, layer=first.layers[0],
        site=first.site,
    )  # fmt: skip


# --- what is held against what ---


def _means(evidence: Evidence, direction: str, statistic: str) -> dict[tuple[int, str], float]:
    """Return a statistic by (layer, site): the mean over seeds."""
    rows = evidence.profile.table
    rows = rows[
        (rows["n_layer"] == evidence.profile.config.n_layer)
        & (rows["direction"] == direction)
        & (rows["statistic"] == statistic)
    ]
    means = rows.groupby(["layer", "site"], as_index=False, sort=False)["value"].mean()
    return {(layer, site): value for layer, site, value in means.itertuples(index=False)}


def _weights(evidence: Evidence) -> Iterator[Weight]:
    """Yield every parameter of which the profile says what the rule prescribes."""
    told, bounds = (_means(evidence, "weight", name) for name in ("rule_std", "rule_bound"))
    variances, largest = (_means(evidence, "weight", name) for name in ("variance", "max_abs"))
    joint = any(label.partition(".")[0] in FUSED for _, label in told)
    fused = {(one.site.layer, one.label): one for one in (_fused(evidence) if joint else ())}
    known = {(one.site.layer, one.label): one for one in evidence.parameters}
    for where, one in {**fused, **known}.items():
        if where in told and math.isfinite(variances.get(where, math.nan)):
            site = one.site
            yield Weight(
                where[0], one.label, site.role, site.fan_in, site.fan_out, math.prod(one.shape),
                math.sqrt(max(variances[where], 0.0)), largest.get(where, 0.0), told[where],
                bounds.get(where, math.inf),
            )  # fmt: skip


def _fused(evidence: Evidence) -> Iterator[Parameter]:
    """Yield the fused projections that there might be, of every layer."""
    config = evidence.profile.config
    for layer in range(config.n_layer):
        parts = {one.label: one for one in block_parameters(config, layer)}
        for label, names in FUSED.items():
            for bias in ("", ".bias"):
                whole = [parts[f"{name}{bias}"] for name in names if f"{name}{bias}" in parts]
                if len(whole) == len(names):
                    out = sum(one.shape[0] for one in whole)
                    site = dataclasses.replace(whole[0].site, fan_out=out, role="bias" * bool(bias))
                    yield Parameter(f"{label}{bias}", (out, *whole[0].shape[1:]), site)


def _steps(evidence: Evidence) -> Iterator[Held]:
    """Yield every site's second moment over what is expected of it."""
    table, config = evidence.profile.table, evidence.profile.config
    here = table[(table["n_layer"] == config.n_layer) & (table["direction"] == "forward")]
    keys = ["layer", "site", "seed"]
    found, told = (
        here[here["statistic"] == name].drop_duplicates(keys, keep="last").set_index(keys)["value"]
        for name in ("second_moment", "expected")
    )
    both = pd.concat([found, told], axis=1, keys=["found", "told"], join="inner")
    both = both[both["found"] < math.inf]  # what overflows is another check's
    ratio = (both["found"] / both["told"]).where((both["told"] > 0) | (both["found"] > 0), 1.0)
    seeds = len(evidence.profile.run.seeds)
    means = ratio.groupby(level=["layer", "site"], sort=False).mean()
    for layer, site, value in means.reset_index().itertuples(index=False):
        normed = site.startswith("norm") or (config.norm == "post" and "resid" in site)
        kind = "norm" if normed else site
        slack = SLACK.get(kind, SLACK_OTHER)
        yield Held(int(layer), site, float(value), seeds * freedom(config, site), slack)


# --- what is named ---


def _wrong_weights(evidence: Evidence, weights: Sequence[Weight], tests: int) -> list[Misfit]:
    seeds, bound = len(evidence.profile.run.seeds), evidence.bounds.parameter_std
    held = [
        Held(one.layer, one.label, one.ratio, float(one.entries * seeds), 2 * bound)
        for one in weights
    ]
    found = {one.site: one for one in misfits(held, tests)}
    for label, group in groupby(sorted(weights, key=lambda one: one.label), lambda w: w.label):
        long = [one for one in group if one.too_long]
        if long and label not in found:
            ratio = sum(one.ratio for one in long) / len(long)
            found[label] = Misfit(label, tuple(one.layer for one in long), ratio)
    return list(found.values())


def _explained(step: Misfit, accused: set[tuple[str, int]]) -> bool:
    """Whether the weights at every place of a misfit are wrong themselves."""
    names = {step.site, *(label for label, roles in FUSED.items() if step.site in roles)}
    names |= {"wte", "wpe"} if step.site == "embed" else set()
    names |= {"head"} if step.site == "logits" else set()
    names |= {f"{name}.bias" for name in names}
    wrong = {layer for label, layer in accused if label in names}
    return wrong >= set(step.layers)


def _causes(steps: Sequence[Misfit], wrong: Sequence[Misfit]) -> Iterator[Misfit]:
    """Leave out what attention makes of tokens that came wrong already: only that is no step."""
    first = min(map(_place, [*wrong, *(one for one in steps if one.site != "attn")]), default=None)
    for one in steps:
        if one.site != "attn" or first is None or _place(one) < first:
            yield one


def _place(one: Misfit) -> tuple[int, float]:
    """Return where in the signal's flow a misfit begins."""
    base = one.site.partition(".")[0]
    base = FUSED.get(base, (base,))[0]
    before = {"wte": -2, "wpe": -1, "head": _ORDER["logits"] - 0.5}
    return one.layers[0], _ORDER.get(base, before.get(base, len(_ORDER)))


class _Said(NamedTuple):
    """A misfit with the likely cause, which several may share, and the text about this one."""

    misfit: Misfit
    why: str
    text: str


def _sentences(
    evidence: Evidence, found: Sequence[Misfit], weights: Sequence[Weight]
) -> Iterator[str]:
    """Say each misfit in its order, those of the same cause together, with the first's numbers."""
    said = [_says(evidence, one, weights) for one in found]
    for why in dict.fromkeys(one.why for one in said):
        alike = [one for one in said if one.why == why]
        layers = dict.fromkeys(one.misfit.layers for one in alike)
        places = [
            f"{_layers(same, evidence.profile.config.n_layer)} "
            + joined([one.misfit.site for one in alike if one.misfit.layers == same])
            for same in layers
        ]
        yield f"{', '.join(places)}: {alike[0].text}"


def _says(evidence: Evidence, one: Misfit, weights: Sequence[Weight]) -> _Said:
    here = [w for w in weights if w.label == one.site and w.layer in one.layers]
    if not here:
        text = (
            f"{number(one.ratio)} × the second moment that is expected of its input: the forward "
            "pass does there what the rule does not say"
        )
        return _Said(one, f"the step to {one.site}", text)
    why = cause(here, evidence.profile.config.n_layer, evidence.bounds.parameter_std)
    std, told = (_rms([getattr(w, name) for w in here]) for name in ("std", "told"))
    factor = f"{number(one.ratio)} × the predicted variance" if told else "it varies"
    text = (
        f"{factor}: not drawn as the rule says ({one.site}: std {number(std)} for "
        f"{number(told)}){f': {why}' if why else ''}"
    )
    return _Said(one, why or f"the weight {one.site}", text)


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(sum(value**2 for value in values) / len(values))


def _layers(layers: Sequence[int], n_layer: int) -> str:
    """Name layers: ``layer 17``, ``layers 0–11``, ``layers 3, 5 and 7``."""
    if len(layers) == 1:
        return layer_name(layers[0], n_layer)
    if layers[-1] - layers[0] == len(layers) - 1:
        return f"layers {layers[0]}–{layers[-1]}"
    return f"layers {', '.join(map(str, layers[:-1]))} and {layers[-1]}"


CHECKS = (
    Check("IS016", "as-predicted",
          "Every weight is drawn, and passes the signal on, as theory says of the rule.",
          as_predicted, reason="a curve shows that something is off, and not what: each step is "
          f"held against its own input, with a chance of {LEVEL:g} that a sound profile is accused "
          "of anything (Bonferroni over all its readings)"),
)  # fmt: skip
