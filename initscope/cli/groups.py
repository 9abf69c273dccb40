"""The options that several commands share, a dataclass a group."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args

from typer import Argument, Option

from initscope.cli.naming import complete_rule
from initscope.config import PRESETS, Activation, Branches, GPTConfig, Norm, NormKind, Positions
from initscope.errors import UsageError
from initscope.options import DTYPES, Options

if TYPE_CHECKING:
    from initscope.rules import Rule

DEFAULT_DEPTH = 12


def starting_with(names: Any) -> Any:  # noqa: ANN401 - typer's callbacks are untyped
    """Complete an option from a list of names."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def _choice(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a Literal
    names = get_args(kind)
    return {"metavar": "|".join(names), "autocompletion": starting_with(names)}


_SHAPE: dict[str, Any] = {"rich_help_panel": "Shape"}
_RUN: dict[str, Any] = {"rich_help_panel": "Measurement"}
_OUT: dict[str, Any] = {"rich_help_panel": "Output"}

_RULE = "a name of initscope rules, or NAME:KEY=FORMULA,..."
RuleName = Annotated[
    str, Option(metavar="RULE", help=f"Initialisation: {_RULE}.", autocompletion=complete_rule)
]
RuleNames = Annotated[
    list[str],
    Argument(
        metavar="RULE...", help=f"Initialisations: each {_RULE}.", autocompletion=complete_rule
    ),
]

WithTheory = Annotated[
    bool,
    Option("--theory/--no-theory", help="Set what theory predicts beside the measurement.",
           rich_help_panel="Measurement"),
]  # fmt: skip


@dataclass
class Shape:
    """The model; what is not given comes from the preset, the rule, or the depth."""

    n_layer: Annotated[int | None, Option(help=f"Blocks [{DEFAULT_DEPTH}].", **_SHAPE)] = None
    n_embd: Annotated[int | None, Option(help="Width [768].", **_SHAPE)] = None
    n_head: Annotated[int | None, Option(help="Attention heads [n_embd / 64].", **_SHAPE)] = None
    n_kv_head: Annotated[int | None, Option(help="Key/value heads [n_head].", **_SHAPE)] = None
    d_ff: Annotated[int | None, Option(help="MLP width [4 n_embd].", **_SHAPE)] = None
    vocab_size: Annotated[int | None, Option(help="Token ids [50304].", **_SHAPE)] = None
    block_size: Annotated[int | None, Option(help="Longest sequence [1024].", **_SHAPE)] = None
    norm: Annotated[str | None, Option(help="Placement [pre].", **_choice(Norm), **_SHAPE)] = None
    norm_kind: Annotated[
        str | None, Option(help="Kind of norm [layernorm].", **_choice(NormKind), **_SHAPE)
    ] = None
    activation: Annotated[
        str | None, Option(help="MLP activation [gelu].", **_choice(Activation), **_SHAPE)
    ] = None
    positions: Annotated[
        str | None, Option(help="Positions [learned].", **_choice(Positions), **_SHAPE)
    ] = None
    bias: Annotated[
        bool | None, Option("--bias/--no-bias", help="Linear and norm biases [no].", **_SHAPE)
    ] = None
    tied: Annotated[
        bool | None, Option("--tied/--untied", help="Head is the embedding [tied].", **_SHAPE)
    ] = None
    qk_norm: Annotated[
        bool | None, Option("--qk-norm/--no-qk-norm", help="Normalise q and k [no].", **_SHAPE)
    ] = None
    branches: Annotated[
        str | None,
        Option(help="Attention and MLP one after the other, side by side with a norm each, or side "
               "by side after one norm [sequential].", **_choice(Branches), **_SHAPE),
    ] = None  # fmt: skip
    embed_norm: Annotated[
        bool | None,
        Option("--embed-norm/--no-embed-norm", help="Normalise the embedding [no].", **_SHAPE),
    ] = None
    inner_norm: Annotated[
        bool | None,
        Option("--inner-norm/--no-inner-norm", help="Norms before attn_out and mlp_down [no].",
               **_SHAPE),
    ] = None  # fmt: skip
    rope_share: Annotated[
        float | None, Option(help="Share of each head that rope rotates [1].", **_SHAPE)
    ] = None
    preset: Annotated[
        str | None,
        Option(
            metavar="NAME", autocompletion=starting_with(PRESETS),
            help=f"A published shape: {', '.join(PRESETS)}.", **_SHAPE,
        ),
    ] = None  # fmt: skip

    def config(self, rule: Rule) -> GPTConfig:
        """Return the shape: flags beat the preset, which beats the rule's architecture."""
        chosen = self.chosen()
        depth = {} if "preset" in chosen else {"n_layer": DEFAULT_DEPTH}
        from initscope.rules import config_for

        return config_for(rule, **{**depth, **chosen})

    def chosen(self) -> dict[str, Any]:
        """Return the fields that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass
class Measurement:
    """How to measure; what is not given is left to Options, or to a settings file."""

    seeds: Annotated[
        int | None, Option(help="Independent draws; more narrow the error [1].", **_RUN)
    ] = None
    tokens: Annotated[
        str | None,
        Option(
            metavar="zipf|uniform|FILE",
            **_RUN,
            help="Ids: Zipf (nearest to text), uniform, a nanoGPT .bin, or text as bytes [zipf].",
        ),
    ] = None
    batch: Annotated[int | None, Option(help="Sequences [1].", **_RUN)] = None
    seq_len: Annotated[
        int | None, Option(min=1, help="Tokens a sequence [256, or block_size].", **_RUN)
    ] = None
    device: Annotated[
        str | None,
        Option(metavar="auto|cuda|cuda:N|mps|cpu", help="Where to compute [auto].", **_RUN),
    ] = None
    dtype: Annotated[
        str | None,
        Option(
            metavar="|".join(DTYPES),
            autocompletion=starting_with(DTYPES),
            **_RUN,
            help="Weights and activations [float32].",
        ),
    ] = None
    forward_only: Annotated[
        bool | None,
        Option("--forward-only/--backward", help="Leave the gradients out [backward].", **_RUN),
    ] = None
    memory: Annotated[
        str | None,
        Option(
            metavar="SIZE",
            **_RUN,
            help="Keep up to this much more from forward to backward, as 8GiB, instead of "
            "computing it twice [0]; "
            "with --model, take no more than this in all [what is free].",
        ),
    ] = None
    depth_law: Annotated[
        bool | None,
        Option("--depth-law/--no-depth-law", help="Measure n/2 and n/4 blocks too [yes].", **_RUN),
    ] = None
    perturb_zeros: Annotated[
        float | None,
        Option(metavar="STD", help="Draw what the rule sets to 0 with this std instead.", **_RUN),
    ] = None

    def chosen(self) -> dict[str, Any]:
        """Return the options that were given, the memory in bytes.

        Raises:
            UsageError: for a size that is none.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return given if self.memory is None else {**given, "memory": size(self.memory)}

    def options(self) -> Options:
        """Return the engine's options.

        Raises:
            UsageError: for values that cannot be right.
        """
        return Options(**self.chosen())


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def size(text: str) -> int:
    """Parse a memory size: ``8GiB``, ``512MB``, ``2g`` or bytes.

    Raises:
        UsageError: for anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    unit = {**_UNITS, **_BINARY}.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{text!r} is not a size; write it like 8GiB, 512MB or 4096")
    return int(float(match[1]) * unit)
