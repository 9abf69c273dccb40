"""Writing verdicts for people and machines: the one registry, each format a file beside this one.

A formatter is a pure function from named verdicts to a text that ends in a newline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from initscope.errors import unknown
from initscope.formats import as_github, as_json, as_junit, as_markdown, as_sarif, as_text
from initscope.formats.named import Named, no_check_ran, overall
from initscope.verdict import Verdict

__all__ = ["FORMATS", "Formatter", "Named", "no_check_ran", "overall", "render"]

Formatter = Callable[[Sequence[Named]], str]

FORMATS: dict[str, Formatter] = {
    "text": as_text.render,
    "json": as_json.render,
    "markdown": as_markdown.render,
    "github": as_github.render,
    "junit": as_junit.render,
    "sarif": as_sarif.render,
}


def render(verdicts: Sequence[Verdict | Named], format: str) -> str:  # noqa: A002 - its plain name
    """Write verdicts in a format; one without a name is called by its rule and depth.

    Raises:
        UsageError: for a name that is not a format.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format]([v if isinstance(v, Named) else Named.of(v) for v in verdicts])
