"""SARIF 2.1.0: what code scanning reads.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. What GitHub demands beyond it
(a file, a region, descriptions and help of each rule) is given too:
https://docs.github.com/code-security/reference/code-scanning/sarif-support-for-code-scanning
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from initscope import __version__
from initscope.formats.named import (
    NO_CHECK_RAN,
    Named,
    advice,
    label,
    no_check_ran,
    occurrences,
    one_line,
    sentence,
)  # fmt: skip
from initscope.verdict import Finding, Level, Status

HOME = "https://github.com/initscope/initscope"
HELP = f"{HOME}/blob/main/docs/checks.md"

_LEVELS = {
    Status.BROKEN: {Level.ERROR: "error", Level.WARN: "warning"},
    Status.INCONCLUSIVE: {Level.ERROR: "warning", Level.WARN: "note"},
}

_Object = dict[str, Any]


def render(checks: Sequence[Named]) -> str:
    """Write a log of one run, with a result a broken or undecided finding."""
    rules = _rules(checks)
    run = {
        "tool": {"driver": {
            "name": "initscope", "version": __version__, "informationUri": HOME, "rules": rules,
        }},
        "invocations": [_invocation(checks)],
        "results": list(_results(checks, [rule["id"] for rule in rules])),
    }  # fmt: skip
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    log = {"$schema": schema, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, allow_nan=False, indent=2) + "\n"


def _rules(checks: Sequence[Named]) -> list[_Object]:
    found = {finding.code: finding for check in checks for finding in check.verdict.findings}
    return [_rule(found[code]) for code in sorted(found)]


def _rule(finding: Finding) -> _Object:
    uri = f"{HELP}#{quote(finding.code.lower())}"
    return {
        "id": finding.code,
        "name": one_line(finding.name),
        "shortDescription": {"text": label(finding)},
        "fullDescription": {"text": one_line(finding.summary or label(finding))},
        "helpUri": uri,
        "help": {"text": f"What is measured, the bound and its source: {uri}"},
    }


def _invocation(checks: Sequence[Named]) -> _Object:
    """Say whether anything was checked; no results would else look like success."""
    silent = [check.title for check in checks if check.status is Status.NOT_MEASURED]
    said = [_notification("warning", f"{name}: nothing was measured") for name in silent]
    if no_check_ran(checks):
        said.append(_notification("error", NO_CHECK_RAN))
    return {
        "executionSuccessful": not no_check_ran(checks),
        "toolExecutionNotifications": said,
    }


def _notification(level: str, text: str) -> _Object:
    return {"level": level, "message": {"text": text}}


def _results(checks: Sequence[Named], codes: Sequence[str]) -> Iterator[_Object]:
    listed = [
        (check, finding) for check in checks for finding in check.verdict.findings
        if finding.status in _LEVELS
    ]  # fmt: skip
    numbers = occurrences((check.name, finding.code) for check, finding in listed)
    for (check, finding), number in zip(listed, numbers, strict=True):
        yield {
            "ruleId": finding.code,
            "ruleIndex": codes.index(finding.code),
            "level": _LEVELS[finding.status][finding.level],
            "message": {"text": _message(check, finding)},
            "locations": [_location(check, finding)],
            "partialFingerprints": _fingerprint(check, finding, number),
            "properties": {"check": check.title, "status": finding.status},
        }


def _message(check: Named, finding: Finding) -> str:
    said = f"{check.title}: {sentence(finding, check.verdict)}"
    return "\n".join([said, *advice(check.verdict)])


def _location(check: Named, finding: Finding) -> _Object:
    path = quote(check.path.replace("\\", "/"), errors="replace")
    place: _Object = {
        "physicalLocation": {
            "artifactLocation": {"uri": path},
            "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2},
        }
    }
    name = _qualified(finding, check.verdict.n_layer)
    if name:
        place["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "module"}]
    return place


def _qualified(finding: Finding, n_layer: int) -> str:
    """Name a place as in the model: ``blocks.17.mlp_down``; outside the blocks by its site."""
    inside = finding.layer is not None and 0 <= finding.layer < n_layer
    parts = [f"blocks.{finding.layer}" if inside else "", finding.site or ""]
    return one_line(".".join(part for part in parts if part))


def _fingerprint(check: Named, finding: Finding, number: int) -> _Object:
    """Return what stays the same while a check finds the same fault, wherever and however large.

    In the form of GitHub's own (a hash, and which of several equal ones), the only one it reads.
    """
    identity = json.dumps([check.name, finding.code]).encode()
    digest = hashlib.sha256(identity).hexdigest()[:16]
    return {"primaryLocationLineHash": f"{digest}:{number}"}
