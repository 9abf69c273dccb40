"""Drawing a user's model anew by one of our rules: its parameters' sites, and what has none."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from initscope.anatomy import Anatomy, Labelled, View
from initscope.config import GPTConfig
from initscope.draws import Drawer, Filling
from initscope.profile import Reading
from initscope.rules.core import ROLES, Draw, Multipliers, Rule, Site
from initscope.sites import block_parameters, model_site

_SHARES = {"qkv": ("q", "k", "v"), "qk": ("q", "k"), "kv": ("k", "v"),
           "mlp_gate_up": ("mlp_gate", "mlp_up")}  # fmt: skip

# What theory takes a block to have.
_NEEDED = {"attn", "attn_out", "mlp_up", "mlp_down"}
_SANDWICH = ("1", "2", "1_out", "2_out")


class Mapped(NamedTuple):
    """A parameter, or its share in a fused one, with its site and what was drawn.

    ``features`` are the rows of a fused weight that are meant, None for all.
    """

    found: Labelled
    label: str
    site: Site
    draw: Draw
    features: Tensor | None = None


class Redrawn(NamedTuple):
    """What a rule drew in a model, what it left, and what of its method cannot be had."""

    mapped: list[Mapped]
    unmapped: list[Labelled]
    multipliers: bool

    @property
    def prescribed(self) -> Iterator[Reading]:
        """What the rule says of each parameter whose entries all come from the same draw."""
        for _, shares in groupby(self.mapped, lambda one: one.found.path):
            whole = list(shares)
            found = whole[0].found
            same = {(one.draw.std, one.draw.bound) for one in whole}
            if len(same) == 1:
                draw, layer = whole[0].draw, whole[0].site.layer
                label = whole[0].label if len(whole) == 1 else found.label
                yield Reading(layer, label, "weight", "rule_std", draw.std)
                yield Reading(layer, label, "weight", "rule_bound", draw.bound)


def redraw(anatomy: Anatomy, rule: Rule, config: GPTConfig, seed: int) -> Redrawn:
    """Draw every parameter that has a site; the rest keeps what its model gave it.

    The numbers are those that the built-in GPT's parameter of the same name would get.
    """
    found = prescribe(anatomy, rule, config)
    draw(anatomy, found.mapped, seed)
    return found


def prescribe(anatomy: Anatomy, rule: Rule, config: GPTConfig) -> Redrawn:
    """Say what a rule would draw in a model, and what it would leave; draw nothing."""
    mapped, unmapped = [], []
    for one in anatomy.parameters:
        sites = list(sites_of(anatomy, one, config))
        mapped += [Mapped(one, label, site, rule.draw(site), rows) for label, site, rows in sites]
        if not sites:
            unmapped.append(one)
    layers = range(config.n_layer)
    brings = any(rule.multipliers(model_site(config, layer)) != Multipliers() for layer in layers)
    return Redrawn(mapped, unmapped, brings)


@torch.no_grad()
def draw(anatomy: Anatomy, items: Iterable[Mapped], seed: int) -> None:
    """Draw parameters and their shares."""
    drawer = Drawer(seed)
    for item in items:
        _draw(drawer, item, share_of(anatomy, item.found))


def unlike(anatomy: Anatomy, found: Redrawn, config: GPTConfig) -> str:
    """Say in what a model differs from its nearest description; "" where that is the model."""
    parts = anatomy.parts
    sizes = {p.label: (p.site.fan_in, p.site.fan_out) for p in block_parameters(config, 0)}
    for one in found.mapped:
        size = one.site.fan_in, one.site.fan_out
        if one.label in ROLES and sizes.get(one.label, size) != size:
            other = sizes[one.label]
            return f"{one.label} from {size[0]} to {size[1]} features, not {other[0]} to {other[1]}"
    kinds = {part.activation or "that is not found" for part in parts} - {config.activation}
    norms = {"pre": {"norm_1", "norm_2"}, "sandwich": {f"norm_{n}" for n in _SANDWICH}}
    needed = _NEEDED | norms.get(config.norm, set())
    missing = {site for site in needed if any(site not in part.sites for part in parts)}
    for fault, text in (
        (any(part.parallel for part in parts), "parallel branches"),
        (any(not part.softmax for part in parts), "blocks without a softmax"),
        (any(part.norm != config.norm for part in parts), "blocks of several kinds"),
        (kinds, f"an MLP's activation {', '.join(sorted(kinds))}"),
        (missing, f"blocks without {', '.join(sorted(missing))}"),
    ):  # fmt: skip
        if fault:
            return text
    return ""


def share_of(anatomy: Anatomy, one: Labelled, features: Tensor | None = None) -> Tensor:
    """Return a parameter's entries as (fan_out, fan_in), or those of some of its outputs."""
    whole = one.parameter.data
    turned = whole.T if _transposed(anatomy, one) else whole
    return turned if features is None else turned[features]


def _draw(drawer: Drawer, item: Mapped, target: Tensor) -> None:
    """Fill one parameter, or its share of ``target`` (fan_out, fan_in)."""
    rows = target if item.features is None else target[item.features]
    fresh = torch.empty_like(rows, memory_format=torch.contiguous_format)
    bias = item.site.role in {"bias", "norm_bias"}
    path = item.label if bias else f"{item.label}.weight"
    drawer.fill([Filling(fresh, item.draw, item.site.layer, path)])
    if item.features is None:
        target.copy_(fresh)
    else:
        target[item.features] = fresh


def sites_of(
    anatomy: Anatomy, one: Labelled, config: GPTConfig
) -> Iterator[tuple[str, Site, Tensor | None]]:
    """Yield (label, site, rows) of a parameter: several where it is fused, none if unknown."""
    base, _, rest = one.label.partition(".")
    if rest not in {"", "bias"}:
        return
    place = model_site(config, one.layer)
    fans = _fans(anatomy, one)
    if base not in _SHARES:
        kind = _role(base, bias=bool(rest))
        if kind is not None:
            site = dataclasses.replace(place, role=kind, fan_in=fans[0], fan_out=fans[1])
            yield one.label, site, None
        return
    shares = {role: _features(anatomy, one, role) for role in _SHARES[base]}
    for role, rows in shares.items():
        if all(found is not None for found in shares.values()) and rows is not None:
            kind = "bias" if rest else role
            site = dataclasses.replace(place, role=kind, fan_in=fans[0], fan_out=len(rows))
            yield f"{role}.bias" if rest else role, site, rows


def _role(label: str, *, bias: bool) -> str | None:
    if "norm" in label:
        return "norm_bias" if bias else "norm_gain"
    if label not in ROLES:
        return None
    return "bias" if bias else label


def _owner(anatomy: Anatomy, one: Labelled) -> nn.Module:
    return anatomy.model.get_submodule(one.path.rpartition(".")[0])


def _transposed(anatomy: Anatomy, one: Labelled) -> bool:
    """Whether a weight is (fan_in, fan_out), as in transformers' Conv1D."""
    return type(_owner(anatomy, one)).__name__ == "Conv1D" and one.parameter.dim() == 2


def _fans(anatomy: Anatomy, one: Labelled) -> tuple[int, int]:
    """Return (fan_in, fan_out) of the matrix that a parameter belongs to."""
    weight = getattr(_owner(anatomy, one), "weight", one.parameter)
    if weight.dim() < 2:
        return weight.numel(), weight.numel()
    rows, columns = weight.shape[:2]
    return (rows, columns) if type(_owner(anatomy, one)).__name__ == "Conv1D" else (columns, rows)


def _features(anatomy: Anatomy, one: Labelled, role: str) -> Tensor | None:
    """Return which outputs of a fused projection are a role's, from how its output is cut."""
    part = anatomy.parts[one.layer]
    tap = part.sites.get(role)
    if tap is None or tap.view is None:
        return None
    return _outputs(tap.view, _fans(anatomy, one)[1])


def _outputs(view: View, width: int) -> Tensor:
    """Number the outputs (…, width) of a projection, cut the numbers, and see which are left."""
    whole = view
    entries = max(_last(whole) + 1, width)
    numbers = torch.arange(-(-entries // width) * width) % width
    return view.of(numbers).unique()


def _last(view: View) -> int:
    steps = ((length - 1) * stride for length, stride in zip(view.size, view.stride, strict=True))
    return view.offset + sum(steps)
