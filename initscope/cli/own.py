"""The options that name a user's own model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from initscope.cli.groups import Shape
from initscope.cli.naming import complete_rule, find_rule
from initscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from initscope.own import Subject

_OWN: dict[str, Any] = {"rich_help_panel": "Own model"}
OWN = "own"


@dataclass
class Own:
    """A model of the user's: where it is, and what of it cannot be found."""

    model: Annotated[
        str | None,
        Option(
            metavar="TARGET", help="package.module:factory, file.py:Class or hf:NAME.", **_OWN,
        ),
    ] = None  # fmt: skip
    model_arg: Annotated[
        list[str] | None,
        Option(metavar="NAME=VALUE", help="An argument of it; may be repeated.", **_OWN),
    ] = None
    depth_arg: Annotated[
        str | None, Option(metavar="NAME", help="Its argument for the depth [found].", **_OWN)
    ] = None
    batch_from: Annotated[
        str | None,
        Option(metavar="TARGET", help="A function that returns what it is called with.", **_OWN),
    ] = None
    blocks: Annotated[
        str | None,
        Option(metavar="'model.layers.*'", help="The paths of its blocks [found].", **_OWN),
    ] = None
    init: Annotated[
        str | None,
        Option(metavar="RULE", help="Draw its weights anew by a rule.", **_OWN,
               autocompletion=complete_rule),
    ] = None  # fmt: skip
    print_sites: Annotated[
        bool, Option("--print-sites", help="Show what was found in it, and stop.", **_OWN)
    ] = False

    def given(self) -> list[str]:
        """Return the names of the options that were given."""
        return [name for name, value in asdict(self).items() if value]

    def chosen(self) -> bool:
        """Whether there is a model.

        Raises:
            UsageError: for an option of one where there is none.
        """
        if self.model is None and self.given():
            flag = self.given()[0].replace("_", "-")
            raise UsageError(f"--{flag} belongs to a model of your own: name it with --model")
        return self.model is not None

    def subject(self, shape: Shape, rule: str = "", against: str | None = None) -> Subject:
        """Return what is to be measured: the model by its own draw, or by a rule's.

        ``against`` is the rule that its own draw should follow.

        Raises:
            UsageError: for code, a name or a field that is not there.
        """
        if against is not None and self.init is not None:
            raise UsageError(
                "--init draws the model anew, --rule names the rule that its own draw should "
                "follow: give one of them"
            )
        rule = rule or self.init or OWN
        drawn_by = None if rule == OWN else find_rule(rule)
        fields = shape.chosen()
        if "preset" in fields:
            raise UsageError("--preset is a shape of the built-in GPT, not of --model")
        from initscope.own import Subject
        from initscope.target import load_factory

        factory = load_factory(self.model or "", self.model_arg or (), self.depth_arg or "")
        return Subject(
            factory=factory.using(fields), batch=self._batch(), blocks=self.blocks or "",
            rule=drawn_by, against=None if against is None else find_rule(against),
        )  # fmt: skip

    def _batch(self) -> Callable[[], object] | None:
        if self.batch_from is None:
            return None
        from initscope.target import resolve

        function, _ = resolve(self.batch_from)
        if not callable(function):
            raise UsageError(f"{self.batch_from} is no function")
        return function
