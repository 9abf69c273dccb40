"""initscope rules."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from initscope.cli.output import print_json, show
from initscope.cli.signature import with_options

SCHEMA = 1  # of the JSON; 1: the first


def rules(
    json: Annotated[
        bool, Option("--json", help="Print the catalogue as JSON instead of a table.")
    ] = False,
) -> None:
    """List the initialisation rules: what each draws, on which architecture, and its source.

    initscope rules

    Those of other packages and of the nearest settings file come after the built-in ones.
    """
    from initscope.rules import all_rules
    from initscope.settings import load_rules
    from initscope.table.catalogue import facts, rules_report

    listed = all_rules(load_rules())
    if not json:
        show(rules_report(listed))
        return
    print_json({"schema": SCHEMA, "rules": [facts(rule) for rule in listed]})


command = with_options(rules)
