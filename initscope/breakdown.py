"""A rule taken apart on one model: a part for all parameters that it draws alike.

What a model lacks has its part too, so that it can be said what the rule gives to a bias where
there are any.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.rules import Rule
from initscope.rules.core import RESIDUAL, Draw, Multipliers, Site
from initscope.rules.formula import Formula
from initscope.rules.parts import VECTORS, spread
from initscope.sites import Parameter, all_parameters, model_site, require_draws

# The multiplier of what each role puts out; the queries' and keys' product has one of its own.
_FACTORS = {
    "wte": "embed", "wpe": "embed", "attn_out": "branch_attn", "mlp_down": "branch_mlp",
    "head": "logits",
}  # fmt: skip
_NORMED = {
    "pre": "what is read", "post": "the stream", "sandwich": "what is read and written",
    "none": "nothing",
}  # fmt: skip


class Sampled(Protocol):
    """What was measured on a real draw."""

    @property
    def std(self) -> float:
        """Standard deviation of the entries."""

    @property
    def error(self) -> float:
        """Standard error of the std."""

    @property
    def entries(self) -> int:
        """How many entries were drawn."""


Sampler = Callable[[Parameter, Draw], Sampled | None]


@dataclass(frozen=True)
class Drawn:
    """One parameter's draw, the formula that sizes it, and the factor of what it puts out."""

    parameter: Parameter
    draw: Draw
    formula: str | None
    factor: float


@dataclass(frozen=True)
class Part:
    """Parameters that are drawn alike, in each layer if not in all.

    Args:
        role: what they are; where several roles are drawn alike, the first of these.
        labels: their names in a block, or outside the blocks.
        drawn: each of them, layer after layer.
        present: whether the model has them; a tied head is drawn as token embedding.
        effect: what they do to the residual stream.
        whole: whether they are all of their role.
    """

    role: str
    labels: tuple[str, ...]
    drawn: tuple[Drawn, ...]
    present: bool
    effect: str
    whole: bool = True

    @property
    def ends(self) -> tuple[Drawn, ...]:
        """The first, and the last where the rule goes by the layer."""
        by_layer = sorted(self.drawn, key=lambda one: one.parameter.site.layer)
        alike = len({(one.draw, one.factor) for one in by_layer}) == 1
        return (by_layer[0],) if alike else (by_layer[0], by_layer[-1])

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Every shape among them."""
        return list(dict.fromkeys(one.parameter.shape for one in self.drawn))

    @property
    def tensors(self) -> int:
        """How many tensors the model has of them."""
        return len(self.drawn) if self.present else 0

    @property
    def entries(self) -> int:
        """How many numbers the model has of them."""
        return sum(math.prod(one.parameter.shape) for one in self.drawn) if self.present else 0


def parts(config: GPTConfig, rule: Rule) -> list[Part]:
    """Take a rule apart on a model: matrices from the embedding to the head, then vectors.

    Raises:
        UsageError: where the rule does not say what to draw.
    """
    require_draws(rule, config)
    own, texts = _by_label(config).keys(), spread(rule.formulas)
    found: dict[object, Part] = {}
    for label, listed in _by_label(dataclasses.replace(config, bias=True, tied=False)).items():
        role, drawn = listed[0].site.role, [_drawn(config, rule, texts, one) for one in listed]
        part = Part(role, (label,), tuple(drawn), label in own, effect(role, config))
        like = (part.effect, part.present, role if role in VECTORS else listed[0].shape)
        key = (like, frozenset((one.draw, one.formula, one.factor) for one in drawn))
        found[key] = _joined(found[key], part) if key in found else part
    roles = [part.role for part in found.values()]
    listed_parts = (
        dataclasses.replace(part, whole=roles.count(part.role) == 1) for part in found.values()
    )
    return sorted(listed_parts, key=lambda part: part.role in VECTORS)


def _joined(part: Part, more: Part) -> Part:
    """Return the first part with the parameters of both."""
    return dataclasses.replace(
        part, labels=(*part.labels, *more.labels), drawn=(*part.drawn, *more.drawn)
    )


def _by_label(config: GPTConfig) -> dict[str, list[Parameter]]:
    found: dict[str, list[Parameter]] = {}
    for parameter in all_parameters(config):
        found.setdefault(parameter.label, []).append(parameter)
    return found


def _drawn(config: GPTConfig, rule: Rule, texts: Mapping[str, str], parameter: Parameter) -> Drawn:
    name, place = _FACTORS.get(parameter.site.role), model_site(config, parameter.site.layer)
    factor = float(getattr(rule.multipliers(place), name)) if name else 1.0
    if config.tied and parameter.site.role == "head":
        parameter = next(all_parameters(config))  # the token embedding, which is the head
    draw, text = rule.draw(parameter.site), texts.get(parameter.site.role)
    if text is not None and draw.kind == "uniform" and holding(text, parameter.site, draw.std):
        text = f"sqrt(3)*({text})"  # the bound of a uniform that is sized by its std
    return Drawn(parameter, draw, holding(text, parameter.site, draw.scale), factor)


def effect(role: str, config: GPTConfig) -> str:
    """Say what the parameters of a role do to the residual stream."""
    if role in {"wte", "wpe"}:
        return "starts the stream"
    if role in RESIDUAL:
        return "writes to the stream"
    if role == "head":
        return "reads it into logits"
    if role in {"norm_gain", "norm_bias"}:
        normed = _NORMED.get(config.norm, "what is normed")
        return f"{'scales' if role == 'norm_gain' else 'shifts'} {normed}"
    return "shifts a matrix's output" if role == "bias" else "reads the stream"


def holding(text: str | None, site: Site, size: float) -> str | None:
    """Return a formula if its number is this size: a text that has drifted is none."""
    try:
        value = math.nan if text is None else Formula.read(text).at(site)
    except UsageError:
        return None
    return text if math.isclose(value, size, rel_tol=1e-9) else None


@dataclass(frozen=True)
class Factor:
    """A multiplier of the forward pass, in the first layer and the last."""

    name: str
    values: tuple[float, float]
    formula: str | None


def factors(config: GPTConfig, rule: Rule) -> Iterator[Factor]:
    """Yield the multipliers that are not 1 throughout."""
    texts, layers = spread(rule.formulas), (0, config.n_layer - 1)
    first, last = (model_site(config, layer) for layer in layers)
    for field in dataclasses.fields(Multipliers):
        at_first, at_last = (
            float(getattr(rule.multipliers(site), field.name)) for site in (first, last)
        )
        if (at_first, at_last) != (1.0, 1.0):
            text = holding(texts.get(field.name), first, at_first)
            text = holding(text, last, at_last)
            yield Factor(field.name, (at_first, at_last), text)
