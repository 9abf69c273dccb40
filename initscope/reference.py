"""Reference tables generated from the code, so that no document drifts from it.

``python -m initscope.reference checks > docs/checks.md`` writes the page of checks;
``python -m initscope.reference rules`` the table of rules in the README.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from initscope.bounds import Bounds
from initscope.checks import CHECKS, EVERY, TRAINING, Check, reason
from initscope.errors import UsageError
from initscope.rules import RULES

_HEAD = """# The checks

`initscope check` runs these on a profile; `initscope explain IS001` prints one of them. A check
is named by its code or its name in `--select`, `--ignore` and `--level`, and a threshold by its
name in `--bound NAME=NUMBER` or under `[tool.initscope.check.bounds]`.
"""

_TRAINING = """{codes} are for a step of a training run, which [`initscope.watch`](watch.md)
judges by them and by {others}.
"""


def threshold(check: Check) -> str:
    """Say what a check compares with: ``depth_exponent = 0.5``; empty without a number."""
    return f"{check.bound} = {getattr(Bounds(), check.bound):g}" if check.bound else ""


def check_facts(check: Check) -> dict[str, Any]:
    """Return what is known of a check, ready for JSON."""
    return {
        "code": check.code,
        "name": check.name,
        "level": check.level.value,
        "summary": check.summary,
        "bound": check.bound or None,
        "threshold": getattr(Bounds(), check.bound) if check.bound else None,
        "reason": reason(check),
    }


def check_lines(check: Check) -> list[str]:
    """Explain a check: what it wants, its threshold, and why."""
    lines = [f"{check.code} {check.name} ({check.level})", check.summary]
    if check.bound:
        lines.append(f"Threshold: {threshold(check)}")
    return [*lines, f"Why: {reason(check)}."]


def checks_markdown() -> str:
    """Return the page of checks: an anchor a code, its summary, threshold and reason."""
    new = ", ".join(code for code in TRAINING if code not in CHECKS)
    others = ", ".join(code for code in TRAINING if code in CHECKS)
    parts = [_HEAD, _TRAINING.format(codes=new, others=others)]
    for check in EVERY.values():
        bound = f"\nThreshold: `{threshold(check)}`\n" if check.bound else ""
        parts.append(
            f'<a id="{check.code.lower()}"></a>\n\n'
            f"## {check.code} {check.name}\n\n{check.summary} Level: {check.level}.\n"
            f"{bound}\nWhy: {reason(check)}.\n"
        )
    return "\n".join(parts)


def rules_markdown() -> str:
    """Return the table of rules."""
    rows = [f"| `{rule.name}` | {rule.summary} | {rule.source} |" for rule in RULES.values()]
    return "\n".join(["| rule | what it draws | source |", "| --- | --- | --- |", *rows]) + "\n"


def bounds_without_check() -> Iterator[str]:
    """Yield thresholds that no check uses; there should be none."""
    used = {check.bound for check in EVERY.values()}
    return (bound.name for bound in dataclasses.fields(Bounds) if bound.name not in used)


PAGES = {"checks": checks_markdown, "rules": rules_markdown}

if __name__ == "__main__":
    if sys.argv[1:] not in [[page] for page in PAGES]:
        raise UsageError(f"name a page: {', '.join(PAGES)}")
    sys.stdout.write(PAGES[sys.argv[1]]())
