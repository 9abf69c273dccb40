"""initscope audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Option

from initscope.cli.groups import Measurement, Shape
from initscope.cli.naming import complete_rule, find_rule
from initscope.cli.output import show
from initscope.cli.own import Own
from initscope.cli.signature import with_options
from initscope.errors import ExitCode, UsageError
from initscope.files import STDOUT, deliver

if TYPE_CHECKING:
    from initscope.provenance import Audit


def audit(
    shape: Shape,
    measurement: Measurement,
    own: Own,
    rule: Annotated[
        str | None,
        Option(metavar="RULE", help="The rule that it should follow.",
               autocompletion=complete_rule),
    ] = None,
    meta: Annotated[
        bool | None,
        Option("--meta/--no-meta",
               help="Build it on the meta device too [where it has an init_weights()]."),
    ] = None,
    json: Annotated[
        bool, Option("--json", help="Print what was found as JSON instead of a table.")
    ] = False,
) -> None:  # fmt: skip
    """Say what wrote each weight of your model, and what is wrong; exit 1 if anything is.

    initscope audit --model model.py:GPT --n-layer 12
    """
    if not own.chosen():
        raise UsageError("audit looks at a model of your own: name it with --model TARGET")
    if own.init is not None:
        raise UsageError(
            "--init would draw the model anew; --rule names the rule that its draw should follow"
        )
    if own.checkpoint is not None:
        raise UsageError("audit looks at how the model's code draws: a checkpoint has no code")
    subject, options = own.subject(shape), measurement.options()
    if own.print_sites:
        from initscope.cli.found import sites_report

        show(sites_report(*subject.locate(options)))
        return
    from initscope.auditing import audit as look
    from initscope.provenance.faults import faults

    found = look(subject, options, None if rule is None else find_rule(rule), meta=meta)
    _print(found, json=json)
    if faults(found):
        raise SystemExit(ExitCode.OUT_OF_BOUNDS)


def _print(found: Audit, *, json: bool) -> None:
    if json:
        from json import dumps

        from initscope.provenance.document import document

        deliver(STDOUT, dumps(document(found), indent=2, allow_nan=False) + "\n")
    else:
        from initscope.table.audit import audit_report

        show(audit_report(found))


command = with_options(audit)
