"""Two draws of one parameter, compared without assuming what they were drawn from."""

from __future__ import annotations

import math

from scipy import stats
from torch import Tensor

# A false alarm in one comparison has a probability of about 1e-6; there are some thousands.
SIGMAS = 5
BEYOND = 20  # each further entry beyond all of an equal sample has a chance of a half
UNLIKELY = 1e-6
SPECIMENS = 20_000  # entries that the Kolmogorov-Smirnov test is given at most


def differences(ours: Tensor, theirs: Tensor) -> list[str]:
    """Say how two samples of equal size differ: mean, std, bounds, distribution."""
    a, b = (x.detach().double().flatten() for x in (ours, theirs))
    if a.shape != b.shape:
        return [f"{a.numel()} entries, and {b.numel()}"]
    if not (a.std(correction=0) and b.std(correction=0)):
        return [] if a.equal(b) else [f"{a[0]:g} and {b[0]:g}, one of them constant"]
    found = {
        "mean": _apart(a.mean(), b.mean(), math.sqrt(2 / len(a)) * b.std()),
        # A std's relative error is that of a normal at most, for all that is drawn here.
        "std": _apart(a.std(), b.std(), math.sqrt(1 / len(a)) * b.std()),
        "bounds": max(_beyond(a, b), _beyond(b, a)) > BEYOND,
        "distribution": _ks(a, b) < UNLIKELY,
    }
    return [
        f"{what}: std {a.std():.4g} and {b.std():.4g}, from {a.min():.4g} to {a.max():.4g} and "
        f"from {b.min():.4g} to {b.max():.4g}"
        for what, differs in found.items() if differs
    ]  # fmt: skip


def _apart(a: Tensor, b: Tensor, error: Tensor) -> bool:
    return bool((a - b).abs() > SIGMAS * error)


def _beyond(a: Tensor, b: Tensor) -> int:
    """Count the entries of one sample that lie further out than any of the other."""
    return int((a.abs() > b.abs().max()).sum())


def _ks(a: Tensor, b: Tensor) -> float:
    return float(stats.ks_2samp(a[:SPECIMENS].numpy(), b[:SPECIMENS].numpy()).pvalue)
