"""What is turned to meet the targets, written as formulas that hold at any depth and width."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from initscope.breakdown import holding
from initscope.config import GPTConfig
from initscope.errors import UsageError
from initscope.rules.core import RESIDUAL, Rule, Site
from initscope.rules.own import FIELDS, amended
from initscope.rules.parts import spread
from initscope.sites import Parameter, block_parameters, embedding_parameters, model_site

DIGITS = 4  # of a solved number: finer than any seed could tell
EXACT = 15  # while it is sought
BY_DEPTH = "/sqrt(2*n_layer)"
_SIZE = {"normal": "std", "truncated_normal": "std", "uniform": "bound", "orthogonal": "gain"}
_BRANCHES = {"attn_out": "branch_attn", "mlp_down": "branch_mlp"}


class Values(NamedTuple):
    """Where the knobs stand: factors on the base's, and the power of the layer's number.

    ``branches`` multiplies both branches, ``split`` attention's and divides the MLP's.
    """

    branches: float = 1.0
    embedding: float = 1.0
    split: float = 1.0
    tilt: float = 0.0


class Handle(NamedTuple):
    """A key of a rule of one's own, the base's formula for it, and how it goes by the depth."""

    key: str
    unit: str
    shape: str = ""

    def text(self, factor: float, power: float, digits: int) -> str:
        """Return the formula times a factor and a power of the layer's share of the depth."""
        unit = f"({self.unit})" if _is_sum(self.unit) else self.unit
        if factor != 1:
            # A unit of 1 is a quotient's numerator: 1/sqrt(...).
            rest = unit[1:] if unit == "1" or unit.startswith("1/") else f"*{unit}"
            unit = f"{factor:.{digits}g}{rest}"
        # A factor is asked for before the first block too, where the layer is -1.
        layer = "(layer+1)" if "." in self.key else "max(layer+1, 1)"
        tilt = f"*({layer}/n_layer)**{power:.{digits}g}" if power else ""
        return f"{unit}{self.shape}{tilt}"


class Knobs:
    """The handles of one base on one model.

    Raises:
        UsageError: for a base whose branches go by the layer, and by no formula that is known.
    """

    def __init__(self, config: GPTConfig, base: Rule) -> None:
        self.config, self.base = config, base
        self.texts = spread(base.formulas)
        factors = base.multipliers(model_site(config, 0))
        own = {factors.branch_attn, factors.branch_mlp} != {1.0}
        self.multiplies = own or config.norms_output or config.inner_norm
        self.scales_embedding = config.tied or factors.embed != 1
        self.skips = {factors.skip_attn, factors.skip_mlp} != {1.0}
        self.branches = {role: self._branch(role) for role in sorted(RESIDUAL)}

    def _branch(self, role: str) -> Handle:
        parameter = next(p for p in block_parameters(self.config, 0) if p.site.role == role)
        handle = self._factor(_BRANCHES[role]) if self.multiplies else self._drawn(parameter)
        return handle._replace(shape="" if self._shrinks(parameter) else BY_DEPTH)

    def _shrinks(self, parameter: Parameter) -> bool:
        """Whether the base makes what a branch adds go by the depth already, or skips do."""
        n, site = self.config.n_layer, parameter.site
        here = self._size(site)
        others = (_moved(site, layer=n - 1), _moved(site, n_layer=4 * n))
        return self.skips or (here > 0 and any(self._size(other) != here for other in others))

    def _size(self, site: Site) -> float:
        """Return what the rms of a branch is proportional to."""
        factor = float(getattr(self.base.multipliers(site), _BRANCHES[site.role]))
        return factor if self.config.norms_output else factor * self.base.draw(site).std

    def _drawn(self, parameter: Parameter) -> Handle:
        """Return the handle of a matrix: what sizes its distribution."""
        draw, role = self.base.draw(parameter.site), parameter.site.role
        if draw.std == 0:
            return Handle(f"{role}.std", "1/sqrt(fan_in)")
        layers = (0, self.config.n_layer - 1) if role in RESIDUAL else (parameter.site.layer,)
        text = self.texts.get(role)
        sizes = set()
        for layer in layers:
            site = _moved(parameter.site, layer=layer)
            sizes.add(self.base.draw(site).scale)
            text = holding(text, site, self.base.draw(site).scale)
        return Handle(f"{role}.{_SIZE[draw.kind]}", text or self._plain(role, sizes))

    def _factor(self, name: str) -> Handle:
        """Return the handle of a multiplier."""
        text, sizes = self.texts.get(name), set()
        for layer in (0, self.config.n_layer - 1):
            site = model_site(self.config, layer)
            sizes.add(float(getattr(self.base.multipliers(site), name)))
            text = holding(text, site, getattr(self.base.multipliers(site), name))
        if sizes == {0.0}:
            return Handle(name, "1")
        return Handle(name, text or self._plain(name, sizes))

    def _plain(self, name: str, sizes: set[float]) -> str:
        if len(sizes) > 1:
            raise UsageError(
                f"{self.base.name} has another {name} in each layer and no formula that says which;"
                " give its decorator formulas, or choose another --like"
            )
        return f"{sizes.pop():.{EXACT}g}"

    def said(self, values: Values, digits: int = DIGITS) -> dict[str, Any]:
        """Return what a rule of one's own says beyond its base, key by key."""
        return {
            **self._architecture(),
            **self.branch_formulas(values, digits),
            **self.embedding_formulas(values, digits),
        }

    def rule(self, name: str, values: Values, digits: int = EXACT) -> Rule:
        """Return the base with its knobs turned."""
        return amended(self.base, name, self.said(values, digits))

    def _architecture(self) -> dict[str, Any]:
        """Return what of the architecture the base does not bring along."""
        sizes = {
            field.name: getattr(self.config, field.name)
            for field in dataclasses.fields(self.config) if field.name not in FIELDS
        }  # fmt: skip
        plain = GPTConfig.from_dict({**self.base.architecture, **sizes})
        chosen = {name: getattr(self.config, name) for name in FIELDS}
        return {name: value for name, value in chosen.items() if value != getattr(plain, name)}

    def branch_formulas(self, values: Values, digits: int = DIGITS) -> dict[str, str]:
        """Return what is said of the branches, in one where both are alike."""
        factors = {
            "attn_out": values.branches * values.split,
            "mlp_down": values.branches / values.split,
        }
        said = {
            self.branches[role].key: self.branches[role].text(factor, values.tilt, digits)
            for role, factor in factors.items()
        }
        sizes = {key.partition(".")[2] for key in said}  # std, bound or gain; none of a factor
        if len(sizes) > 1 or len(set(said.values())) > 1:
            return said
        both = "branch" if self.multiplies else f"residual.{sizes.pop()}"
        return {both: next(iter(said.values()))}

    def embedding_formulas(self, values: Values, digits: int = DIGITS) -> dict[str, str]:
        """Return what is said of the embedding; nothing where it is left alone."""
        if values.embedding == 1:
            return {}
        if self.scales_embedding:
            handles = [self._factor("embed")]
        else:
            handles = [self._drawn(parameter) for parameter in embedding_parameters(self.config)]
        return {handle.key: handle.text(values.embedding, 0, digits) for handle in handles}


def _moved(site: Site, **changes: int) -> Site:
    fields = {field.name: getattr(site, field.name) for field in dataclasses.fields(site)}
    return Site(**{**fields, **changes})


def _is_sum(text: str) -> bool:
    """Whether a formula is a sum outside its brackets, so that a factor needs brackets about it."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and character in "+-" and place and text[place - 1] not in "*/eE":
            return True
    return text.startswith("-")
