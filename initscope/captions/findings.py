"""What stands out in a profile, a line a matter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from initscope import digest
from initscope.digest import ATTENTION, EMBEDDING, GRADIENT, MLP, RESIDUAL
from initscope.notation import layer_name, number
from initscope.profile import Profile


class Note(NamedTuple):
    """A line with a label; ``bad`` where something is wrong."""

    label: str
    text: str
    bad: bool = False


def findings(profile: Profile) -> list[Note]:
    """Sum the profile up, a line a matter; what was not measured is not mentioned."""
    lost = overflow(profile)
    notes = [Note("✕ overflow", lost, bad=True)] if lost else []
    if profile.run.remark and (profile.run.predicted or digest.prediction(profile)):
        text = f"holds no further: {profile.run.remark}"
        notes.append(Note("theory", text, bad=profile.run.predicted))
    if profile.run.left_out:
        notes.append(Note("depth", profile.run.left_out))
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
