"""initscope explain."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option, echo

from initscope.cli.groups import Shape
from initscope.cli.naming import complete_rule, find_rule, known_rules
from initscope.cli.output import print_json, progress, show
from initscope.cli.signature import with_options
from initscope.errors import UsageError, unknown

if TYPE_CHECKING:
    from initscope.checks import Check

SCHEMA = 1  # of the JSON; 1: the first


def _complete(incomplete: str) -> list[str]:
    from initscope.checks import EVERY

    return [*complete_rule(incomplete), *(code for code in EVERY if code.startswith(incomplete))]


def explain(
    name: Annotated[
        str,
        Argument(
            metavar="RULE|CHECK",
            help="A rule, as --rule takes it, or a check's code or name: IS001.",
            autocompletion=_complete,
        ),
    ],
    shape: Shape,
    json: Annotated[bool, Option("--json", help="Print it as JSON.")] = False,
    folklore: Annotated[
        bool,
        Option("--folklore", help="What is told of nanogpt, beside its code and a measurement."),
    ] = False,
) -> None:
    """Explain a rule on a model, parameter by parameter, or what a check wants and why.

    initscope explain nanogpt --n-layer 48
    """
    check = _check(name)
    if folklore:
        _explain_folklore(name, shape, json=json)
    elif check is not None:
        _explain_check(check, shape, json=json)
    else:
        _explain_rule(name, shape, json=json)


def _check(name: str) -> Check | None:
    """Return the check of that code or name; None for a rule.

    Raises:
        UsageError: for what is neither, naming the nearest of both.
    """
    from initscope.checks import EVERY
    from initscope.rules import RULES

    checks = {**EVERY, **{check.name: check for check in EVERY.values()}}
    found, rule = EVERY.get(name.upper()) or checks.get(name), name.partition(":")[0]
    if found is None and rule not in RULES and rule not in (rules := known_rules()):
        raise unknown("rule or check", name, [*rules, *checks])
    return found


def _explain_check(check: Check, shape: Shape, *, json: bool) -> None:
    from initscope.reference import check_facts, check_lines

    for field in shape.chosen():
        flag = field.replace("_", "-")
        raise UsageError(f"--{flag} is for a rule, but {check.code} is a check")
    if json:
        print_json({"schema": SCHEMA, "check": check_facts(check)})
    else:
        echo("\n".join(check_lines(check)))


def _explain_rule(name: str, shape: Shape, *, json: bool) -> None:
    rule = find_rule(name)
    config = shape.config(rule)

    from initscope.table.breakdown import rule_report
    from initscope.table.dissection import rule_document
    from initscope.trial import trial

    seeded = partial(trial, seed=0)
    if json:
        print_json({"schema": SCHEMA, **rule_document(config, rule, seeded)})
    else:
        show(rule_report(config, rule, seeded))


def _explain_folklore(name: str, shape: Shape, *, json: bool) -> None:
    if name != "nanogpt":
        raise UsageError(f"--folklore is about nanogpt, not {name}")
    for field in shape.chosen():
        flag = field.replace("_", "-")
        raise UsageError(f"--folklore has models of its own and takes no --{flag}")
    with progress() as report:
        from initscope.folklore import folklore_report

        claims = [row.to_dict() for row in folklore_report(report=report)]
    from initscope.table.folklore import claims_report

    if json:
        print_json({"schema": SCHEMA, "claims": claims})
    else:
        show(claims_report(claims))


command = with_options(explain)
