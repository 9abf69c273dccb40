"""The options that name a user's own model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from initscope.cli.groups import Shape
from initscope.cli.naming import complete_rule, find_rule, is_checkpoint
from initscope.cli.output import say
from initscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from initscope.options import Options
    from initscope.own import Subject
    from initscope.rules import Rule
    from initscope.target import Factory

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
    checkpoint: Annotated[
        str | None,
        Option(metavar="FILE|DIR", help="Take its weights from .safetensors, .pt or a folder.",
               **_OWN),
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

    def subject(self, shape: Shape, weights: str = "", against: str | None = None) -> Subject:
        """Return what is to be measured.

        Args:
            shape: fields of the model that were given.
            weights: ``own`` for its own draw, a rule, or a checkpoint; else as the options say.
            against: the rule that its own draw should follow.

        Raises:
            UsageError: for code, a name, a file or a field that is not there.
            MeasurementError: for a checkpoint that cannot be read.
        """
        said = [
            name for name in (self.init and "--init", self.checkpoint and "--checkpoint") if name
        ]
        if len(said) + bool(weights) > 1:
            raise UsageError(f"{weights or said[1]} and {said[0]} both say what its weights are")
        if against is not None and said:
            raise UsageError(
                f"{said[0]} says what its weights are, --rule names the rule that its own draw "
                "should follow: give one of them"
            )
        if "preset" in shape.chosen():
            raise UsageError("--preset is a shape of the built-in GPT, not of --model")
        name = weights or self.checkpoint or self.init or OWN
        if name == self.checkpoint or is_checkpoint(name):
            return self._restored(shape, name)
        drawn, followed = (
            None if rule in {None, OWN} else find_rule(rule) for rule in (name, against)
        )
        return self._drawn(shape, drawn, followed)

    def _drawn(self, shape: Shape, rule: Rule | None, against: Rule | None) -> Subject:
        from initscope.own import Subject

        return Subject(
            factory=self._factory().using(shape.chosen()), batch=self._batch(),
            blocks=self.blocks or "", rule=rule, against=against,
        )  # fmt: skip

    def _restored(self, shape: Shape, name: str) -> Subject:
        from initscope.checkpoint import open_checkpoint
        from initscope.own import Subject

        checkpoint = open_checkpoint(name)
        factory = self._factory().supposing(checkpoint.arguments).using(shape.chosen())
        return Subject(
            factory=factory, batch=self._batch(), blocks=self.blocks or "", checkpoint=checkpoint,
            label=name.rstrip("/"),
        )  # fmt: skip

    def _factory(self) -> Factory:
        from initscope.target import load_factory

        return load_factory(self.model or "", self.model_arg or (), self.depth_arg or "")

    def _batch(self) -> Callable[[], object] | None:
        if self.batch_from is None:
            return None
        from initscope.target import resolve

        function, _ = resolve(self.batch_from)
        if not callable(function):
            raise UsageError(f"{self.batch_from} is no function")
        return function


def tell(subjects: Sequence[Subject], options: Options) -> None:
    """Say on stderr what is left out of a measurement, and what memory makes of it.

    Raises:
        MeasurementError: where a model fits into memory in no way.
    """
    said = [text for one in subjects for text in (one.left_out, one.paged(options)) if text]
    for text in dict.fromkeys(said):
        say(text)
