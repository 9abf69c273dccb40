"""What was measured and what stands out, in words: for tables, figures and pages alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from initscope import digest
from initscope.config import GPTConfig
from initscope.digest import ATTENTION, EMBEDDING, GRADIENT, MLP, RESIDUAL
from initscope.notation import count, layer_name, number
from initscope.profile import Profile, Run
from initscope.sites import all_parameters


class Note(NamedTuple):
    """A line with a label; ``bad`` where something is wrong."""

    label: str
    text: str
    bad: bool = False


# --- what was measured ---


def facts(profile: Profile) -> list[str]:
    """Say in a few words each how the model is built and how it was measured."""
    config, run = profile.config, profile.run
    return [
        *shape(config),
        f"{count(_parameters(config))} parameters",
        f"{config.norm}-norm ({config.norm_kind})" if config.norm != "none" else "no norm",
        f"{config.activation}{', qk-norm' if config.qk_norm else ''}",
        f"{config.positions} positions" if config.positions != "rope" else "rope",
        "tied head" if config.tied else "untied head",
        "biases" if config.bias else "no biases",
        f"tokens {run.tokens}",
        *(["theory, not measured"] if run.predicted else _measured(run)),
    ]


def _measured(run: Run) -> list[str]:
    return [f"{run.dtype} on {run.device}", _seeds(run.seeds)]


def shape(config: GPTConfig) -> list[str]:
    """Say how large the model is."""
    heads = f"{config.n_head} head{'s' * (config.n_head > 1)}"
    if config.n_kv_head != config.n_head:
        heads += f", {config.n_kv_head} for keys"
    return [
        f"{config.n_layer} layer{'s' * (config.n_layer > 1)}",
        f"width {config.n_embd}",
        heads,
        f"d_ff {config.d_ff}",
        f"vocabulary {config.vocab_size}",
    ]


def common_facts(profiles: Sequence[Profile]) -> list[str]:
    """Return the facts that all profiles share."""
    each = [facts(profile) for profile in profiles]
    return [fact for fact in each[0] if all(fact in others for others in each)] if each else []


def labels(profiles: Sequence[Profile]) -> list[str]:
    """Name each profile by its rule, its depth where depths differ, and what else it takes."""
    names = [profile.rule for profile in profiles]
    fields = [{**profile.config.to_dict(), **_run_fields(profile)} for profile in profiles]
    for key in fields[0] if fields else ():
        if len({each[key] for each in fields}) > 1:
            names = [
                f"{name} {key}={each[key]}" if key == "n_layer" or names.count(name) > 1 else name
                for name, each in zip(names, fields, strict=True)
            ]
    return [
        f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _run_fields(profile: Profile) -> dict[str, object]:
    run = profile.run
    return {
        "source": run.source, "dtype": run.dtype, "device": run.device, "tokens": run.tokens,
        "seeds": len(run.seeds),
    }  # fmt: skip


def listed(names: Sequence[str], most: int = 3) -> str:
    """Join names: all where they are few, else the first ones and how many more.

    >>> listed(["a", "b"]), listed(list("abcde"))
    ('a, b', 'a, b and 3 more')
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def _parameters(config: GPTConfig) -> int:
    return sum(math.prod(parameter.shape) for parameter in all_parameters(config))


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]}–{seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


# --- what stands out ---


def findings(profile: Profile) -> list[Note]:
    """Sum the profile up, a line a matter; what was not measured is not mentioned."""
    lost = overflow(profile)
    notes = [Note("✕ overflow", lost, bad=True)] if lost else []
    if profile.run.remark:
        notes.append(Note("theory", f"holds no further: {profile.run.remark}", bad=True))
    parts = (_growth, _zero, _gradient, _loss, _range, _attention)
    return notes + [note for part in parts for note in part(profile)]


def overflow(profile: Profile) -> str | None:
    """Say where a run first stops being finite: ``overflows float32 at layer 23, mlp_act``."""
    lost = digest.overflow(profile)
    if lost is None:
        return None
    subject = "" if lost.direction == "forward" else "gradient "
    what = "is NaN" if math.isnan(lost.value) else f"overflows {profile.run.dtype}"
    # Queries, keys and values come earlier and are finite: only their product can be at fault.
    cause = " (its logits overflow)" if subject + what + lost.site == "is NaNattn" else ""
    seeds = len(profile.run.seeds)
    some = f", in {lost.seeds} of {seeds} seeds" if lost.seeds < seeds else ""
    return f"{subject}{what} at {place(profile, lost.layer, lost.site)}{cause}{some}"


def place(profile: Profile, layer: int, site: str) -> str:
    """Name a site: ``layer 23, mlp_act``."""
    return f"{layer_name(layer, profile.config.n_layer)}, {site}"


def _growth(profile: Profile) -> Iterator[Note]:
    curve = RESIDUAL.mean(profile)
    ratios = [(digest.growth(curve, EMBEDDING), "from the embedding on")]
    if profile.config.n_layer > 1:
        ratios.append((digest.growth(curve, 0), "from layer 0 on"))
    parts = [f"×{number(x)} {of}" for x, of in ratios if x is not None and math.isfinite(x)]
    if parts:
        yield Note("stream", f"variance {', '.join(parts)}")
    step = digest.largest_step(curve)
    if step is not None:
        yield Note("▲ step", f"the largest: variance ×{number(step[1])} in layer {step[0]}")


def _zero(profile: Profile) -> Iterator[Note]:
    for curve in (ATTENTION, MLP):
        values = curve.mean(profile)
        zero = values[values == 0]
        if not zero.empty:
            part = f"{len(zero)} of {len(values)} layers"
            where = "every layer" if len(zero) == len(values) else part
            yield Note("zero", f"the {curve.title} adds exactly 0 in {where}")


def _gradient(profile: Profile) -> Iterator[Note]:
    norm = _readings(profile, "weight_grad", "grad_norm")["value"]
    ratio = digest.growth(GRADIENT.mean(profile)[::-1], profile.config.n_layer - 1)
    if not norm.empty:
        text = f"norm {number(float(norm.mean(skipna=False)))}"
        if ratio is not None and math.isfinite(ratio):
            text += f"; variance ×{number(ratio)} from the last layer to the embedding"
        yield Note("gradient", text)


def _loss(profile: Profile) -> Iterator[Note]:
    loss = float(_readings(profile, "forward", "loss")["value"].mean())
    excess = loss_excess(profile)
    if math.isfinite(loss) and excess is not None and math.isfinite(excess):
        sign = "+" if excess >= 0 else "-"
        yield Note("loss", f"{loss:.2f} nat = ln(vocabulary) {sign} {number(abs(excess))}")


def loss_excess(profile: Profile) -> float | None:
    """Return how far the loss is above that of guessing, mean over seeds, in nats."""
    values = _readings(profile, "forward", "loss_excess")["value"]
    return None if values.empty else float(values.mean(skipna=False))


def _range(profile: Profile) -> Iterator[Note]:
    peaks = _readings(profile, "forward", "max_abs")
    if peaks.empty or not np.isfinite(peaks["value"]).all():
        return
    peak = peaks.nlargest(1, "value").iloc[0]
    where = place(profile, int(peak["layer"]), str(peak["site"]))
    text = f"max |x| {number(float(peak['value']))} ({where})"
    bits = float(_readings(profile, "forward", "headroom_fp16")["value"].min())
    if math.isfinite(bits):
        text += f", {number(abs(bits))} bit {'below' if bits >= 0 else 'above'} float16's limit"
    yield Note("range", text, bad=bits < 0)


def _attention(profile: Profile) -> Iterator[Note]:
    entropy = _readings(profile, "forward", "attention_entropy")["value"].dropna()
    logits = _readings(profile, "forward", "attention_logit_std")["value"].dropna()
    if not entropy.empty:
        text = f"entropy {_span(entropy)} of its maximum"
        yield Note("attention", text + (f"; logit std {_span(logits)}" if len(logits) else ""))


def _span(values: pd.Series[float]) -> str:
    low, high = number(float(values.min())), number(float(values.max()))
    return low if low == high else f"{low} to {high}"


def _readings(profile: Profile, direction: str, statistic: str) -> pd.DataFrame:
    rows = profile.table
    return rows[
        (rows["n_layer"] == profile.config.n_layer)
        & (rows["direction"] == direction)
        & (rows["statistic"] == statistic)
    ]
