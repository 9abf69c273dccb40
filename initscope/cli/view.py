"""Profiles and their verdicts as one table: what inspect, compare and show print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from initscope.profile import Profile
    from initscope.verdict import Verdict


def view(
    profiles: Sequence[Profile],
    verdicts: Sequence[Verdict],
    *,
    all_layers: bool = False,
    run: bool = False,
) -> RenderableType:
    """Show one profile layer by layer, several as a row each, a training run over its steps."""
    from initscope.table import compare_report, inspect_report, trend_report

    if run:
        return trend_report(profiles, verdicts, all_layers=all_layers)

    if len(profiles) == 1:
        return inspect_report(profiles[0], all_layers=all_layers, verdict=verdicts[0].lines)
    return compare_report(profiles, verdicts=[verdict.word for verdict in verdicts])
