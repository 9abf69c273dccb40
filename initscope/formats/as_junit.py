"""JUnit XML: a test suite a check, a test case a finding.

Valid for the schema of Apache Ant's reports and for that of Jenkins' xUnit plugin, of which
each demands or forbids something that the other does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from initscope.formats.named import (
    NO_CHECK_RAN,
    Named,
    advice,
    explanation,
    label,
    no_check_ran,
    occurrences,
    one_line,
    sentence,
    tag,
)  # fmt: skip
from initscope.verdict import Finding, Status, Verdict

# The schema demands a date and durations; a verdict has none, and the output is to be the same
# for the same verdict.
_UNDATED = {"timestamp": "1970-01-01T00:00:00", "hostname": "localhost", "time": "0"}
_COUNTS = {"tests": "", "failures": "/failure", "errors": "/error", "skipped": "/skipped"}


def render(checks: Sequence[Named]) -> str:
    """Write a report for Jenkins, GitLab and whatever else reads JUnit's."""
    root = ET.Element("testsuites")
    for check in checks:
        _add_suite(root, check)
    if no_check_ran(checks):
        suite = _suite(root, "initscope")
        ET.SubElement(_case(suite, "checks"), "error", type="no check", message=NO_CHECK_RAN)
        _finish(suite, NO_CHECK_RAN)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True).decode() + "\n"


def _add_suite(root: ET.Element, check: Named) -> None:
    suite = _suite(root, check.title)
    _describe(suite, check.verdict)
    findings = check.verdict.findings
    for finding, number in zip(findings, occurrences(f.code for f in findings), strict=True):
        again = f" [{number}]" if number > 1 else ""
        _add_outcome(_case(suite, label(finding) + again), finding, check.verdict)
    _finish(suite, "\n".join(explanation(check)))


def _suite(root: ET.Element, name: str) -> ET.Element:
    suite = ET.SubElement(root, "testsuite", name=name, package="initscope", id=str(len(root)))
    ET.SubElement(suite, "properties")
    return suite


def _describe(suite: ET.Element, verdict: Verdict) -> None:
    said = {"rule": one_line(verdict.rule), "n_layer": verdict.n_layer, "seeds": verdict.seeds}
    for name, value in said.items():
        ET.SubElement(suite[0], "property", name=name, value=str(value))


def _case(suite: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=suite.attrib["name"], name=name, time="0")


def _add_outcome(case: ET.Element, finding: Finding, verdict: Verdict) -> None:
    if finding.status is Status.NOT_MEASURED:
        ET.SubElement(case, "skipped", message=one_line(finding.message))
    elif tag(finding) in {Status.BROKEN, Status.INCONCLUSIVE}:
        failure = ET.SubElement(case, "failure", type=tag(finding))
        failure.set("message", one_line(finding.message))
        failure.text = "\n".join([sentence(finding, verdict), *advice(verdict)])


def _finish(suite: ET.Element, output: str) -> None:
    """Add what comes after the cases, and their counts."""
    ET.SubElement(suite, "system-out").text = output
    ET.SubElement(suite, "system-err")
    counts = {name: str(len(suite.findall(f"testcase{path}"))) for name, path in _COUNTS.items()}
    suite.attrib.update({**counts, **_UNDATED})
