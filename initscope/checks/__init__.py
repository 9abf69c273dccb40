"""The checks by code. To add one, add it to its family's ``CHECKS``."""

from __future__ import annotations

from initscope.bounds import Bounds
from initscope.checks import predicted, signal, training, trend, weights
from initscope.checks.core import Check, Evidence
from initscope.errors import unknown

__all__ = ["CHECKS", "EVERY", "TRAINING", "Check", "Evidence", "get_check", "reason"]

CHECKS: dict[str, Check] = {
    check.code: check for family in (trend, signal, weights, predicted) for check in family.CHECKS
}
# What a step of a training run is judged by instead.
TRAINING: dict[str, Check] = {check.code: check for check in training.CHECKS}
EVERY: dict[str, Check] = {**CHECKS, **{check.code: check for check in training.NEW}}


def get_check(name: str) -> Check:
    """Return a check by its code or its name.

    Raises:
        UsageError: for one that does not exist, naming the nearest that does.
    """
    by_name = {check.name: check for check in EVERY.values()}
    found = EVERY.get(name.upper()) or by_name.get(name)
    if found is None:
        raise unknown("check", name, [*EVERY, *by_name])
    return found


def reason(check: Check) -> str:
    """Say why a check exists and why its threshold is what it is."""
    return Bounds.reason(check.bound) if check.bound else check.reason
