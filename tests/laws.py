"""Models whose signal is known in closed form, or known to be ill, measured once each."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from scipy import stats

import initscope
import synthetic
from initscope.bounds import Bounds
from initscope.checks import CHECKS, Evidence
from initscope.config import GPTConfig
from initscope.options import Options
from initscope.profile import Profile
from initscope.rules import Draw, Multipliers, Rule, Site, get_rule
from initscope.rules.variants import times, vary
from initscope.theory import with_theory
from initscope.verdict import Finding, Verdict

T = TypeVar("T")

GAIN, EMBED = 0.5, 0.1  # of the pre-norm stack: what each block adds, and what it starts from
GROWTH = 1.0  # of the stack without a norm: the stream's variance doubles in each block
LOUD = 6  # the layer that shouts in an otherwise sound model
SHRINK = 0.7  # of the stack without branches: the stream is multiplied by it in each block

PLAIN: dict[str, Any] = {
    "n_layer": 8, "n_embd": 64, "n_head": 2, "vocab_size": 64, "block_size": 32,
}  # fmt: skip
STACK: dict[str, Any] = {**PLAIN, "activation": "relu", "positions": "none", "tied": False}


def stack(gain: float, embed: float, *, scaled: bool = False, skip: float = 1.0) -> Rule:
    """Draw ReLU MLPs whose output has ``gain`` times the mean square of their input.

    E relu(u)² is half of E u², so an up projection of std sqrt(2/fan_in) keeps the mean square.
    Attention adds 0. ``scaled`` divides the gain by 2·n_layer; the stream starts at embed², and
    each block multiplies it by ``skip``.
    """

    def draw(site: Site) -> Draw:
        if site.role == "norm_gain":
            return Draw.constant(1.0)
        deeper = 2 * site.n_layer if scaled else 1
        stds = {
            "wte": embed,
            "mlp_up": math.sqrt(2 / site.fan_in),
            "mlp_down": math.sqrt(gain / deeper / site.fan_in),
            "head": 0.1 / math.sqrt(site.fan_in),
        }
        return Draw.normal(stds.get(site.role, 0.0))

    def multipliers(_site: Site) -> Multipliers:
        return Multipliers(skip_mlp=skip)

    return Rule(name="stack", summary="", source="", draw=draw, multipliers=multipliers)


def altered(base: str, change: Callable[[Site, Draw], Draw]) -> Rule:
    return vary(get_rule(base), "altered", change)


def on(role: str, factor: float) -> Callable[[Site, Draw], Draw]:
    return lambda site, draw: times(draw, factor) if site.role in role.split() else draw


def up_instead_of_down(site: Site, draw: Draw) -> Draw:
    scaled = site.role in {"attn_out", "mlp_up"}
    return times(draw, (2 * site.n_layer) ** -0.5) if scaled else draw


def by_depth(site: Site, draw: Draw) -> Draw:
    """Scale by 1/n_layer: what the blocks add together falls as 1/n_layer."""
    return times(draw, 1 / site.n_layer) if site.role == "mlp_down" else draw


def twice_scaled(site: Site, draw: Draw) -> Draw:
    return times(draw, (2 * site.n_layer) ** -0.5) if site.role == "attn_out" else draw


def loud_layer(site: Site, draw: Draw) -> Draw:
    return times(draw, 1000) if (site.role, site.layer) == ("mlp_down", LOUD) else draw


class Model(NamedTuple):
    """What to measure, and how; with one depth alone where no exponent is asked for."""

    rule: str | Rule
    shape: dict[str, Any]
    options: dict[str, Any]


ONE: dict[str, Any] = {"seeds": 1, "depth_law": False}
FIVE: dict[str, Any] = {"seeds": 5}

MODELS: dict[str, Model] = {
    "flat": Model(stack(GAIN, EMBED), STACK, FIVE),
    "scaled": Model(stack(GAIN, 1.0, scaled=True), STACK, FIVE),
    "explodes": Model(stack(GROWTH, EMBED), {**STACK, "norm": "none"}, FIVE),
    "vanishes": Model(stack(0, EMBED, skip=SHRINK), {**STACK, "norm": "none"}, {"seeds": 2}),
    "settles": Model(vary(stack(8 * GAIN, EMBED), "by-depth", by_depth), STACK, FIVE),
    "post": Model(stack(GAIN, EMBED), {**STACK, "norm": "post"}, FIVE),
    "sandwich": Model(stack(GAIN, EMBED), {**STACK, "norm": "sandwich"}, FIVE),
    "zero": Model(altered("nanogpt", on("attn_out mlp_down", 0)), PLAIN, {"seeds": 1}),
    "zero, perturbed": Model(
        altered("nanogpt", on("attn_out mlp_down", 0)), PLAIN, {"seeds": 1, "perturb_zeros": 0.01}
    ),
    "jump": Model(altered("nanogpt", loud_layer), PLAIN, {"seeds": 2}),
    "nanogpt": Model("nanogpt", PLAIN, FIVE),
    "torch": Model("torch", PLAIN, ONE),
    "repeated": Model("nanogpt", {**PLAIN, "vocab_size": 128, "positions": "none"}, ONE),
    "saturated": Model(altered("nanogpt", on("q k", 100)), PLAIN, ONE),
    "dead": Model(altered("nanogpt", on("mlp_down", 1e-3)), PLAIN, ONE),
    "twice scaled": Model(
        altered("nanogpt", twice_scaled), {**PLAIN, "n_layer": 64}, {**ONE, "forward_only": True}
    ),
    "overflow": Model("kaiming", {**PLAIN, "n_embd": 16, "norm": "none", "n_layer": 48}, ONE),
    "overflow in half precision": Model(
        stack(3, 300), {**STACK, "norm": "none"}, {**ONE, "dtype": "float16"}
    ),
    "near the limit": Model(stack(GAIN, 3000), STACK, {**ONE, "dtype": "float16"}),
    "up instead of down": Model(altered("nanogpt-flat", up_instead_of_down), PLAIN, {"seeds": 1}),
}  # fmt: skip


@cache
def measured(name: str, **changes: Any) -> Profile:
    """Measure one of :data:`MODELS`; ``changes`` are to its options."""
    rule, shape, options = MODELS[name]
    options = {"seq_len": 32, "device": "cpu", **options, **changes}
    with tempfile.TemporaryDirectory() as folder:
        if name == "repeated":
            file = Path(folder) / "one_byte.txt"
            file.write_bytes(b"a" * 100)
            options["tokens"] = str(file)
        return initscope.inspect(GPTConfig(**shape), rule, Options(**options))


@cache
def judged(name: str) -> Verdict:
    return initscope.judge(measured(name))


def finding(profile: Profile, name: str, bounds: Bounds | None = None) -> Finding:
    """Run one check, by its name."""
    (check,) = (check for check in CHECKS.values() if check.name == name)
    return check.find(Evidence(profile, bounds or Bounds()))


def never_applied() -> Profile:
    """Measure weights as PyTorch leaves them, where the rule says something else."""
    profile = measured("torch")
    return synthetic.changed(profile, 0.02, direction="weight", statistic="rule_std")


def wrong_std(layer: int = 5, site: str = "mlp_down") -> Profile:
    """Measure a model of which one parameter is twice as wide as its rule says."""
    profile = measured("nanogpt")
    rows = profile.select(site, "weight", "variance")
    variance = 4 * float(rows.to_numpy()[layer].mean())
    cells = {"direction": "weight", "statistic": "variance", "n_layer": profile.config.n_layer}
    return synthetic.changed(profile, variance, layer=layer, site=site, **cells)


def predicted(profile: Profile) -> Profile:
    """Set what theory says beside a measurement of a rule by its name."""
    return with_theory(profile, profile.rule)


def outlier(layer: int = 3, site: str = "q") -> Profile:
    """Measure a model of which one parameter holds an entry far out."""
    cells = {"direction": "weight", "statistic": "max_over_std", "layer": layer, "site": site}
    return synthetic.changed(measured("nanogpt"), 1000.0, **cells)


# A model that breaks each check; "nanogpt" keeps them all.
ILL: dict[str, Callable[[], Profile]] = {
    "depth-exponent": partial(measured, "flat"),
    "gradient-exponent": partial(measured, "flat"),
    "exponential-stream": partial(measured, "explodes"),
    "exponential-gradient": partial(measured, "explodes"),
    "non-finite": partial(measured, "overflow"),
    "headroom": partial(measured, "near the limit"),
    "initial-loss": partial(measured, "torch"),
    "rank-collapse": partial(measured, "repeated"),
    "attention-entropy": partial(measured, "saturated"),
    "branch-balance": partial(measured, "twice scaled"),
    "dead-branch": partial(measured, "dead"),
    "parameter-std": wrong_std,
    "parameter-outliers": outlier,
    "scaled-weight-off-stream": partial(measured, "up instead of down"),
    "never-initialised": never_applied,
    "as-predicted": lambda: predicted(wrong_std()),
}


def fits(samples: Iterable[float], law: float) -> float:
    """p-value of single seeds scattering around a law (Student's t)."""
    return float(stats.ttest_1samp(list(samples), law).pvalue)


def each_seed(profile: Profile, read: Callable[[Profile], T | None]) -> Iterator[T]:
    """Read a profile once a seed, as if there were no other."""
    for seed in profile.run.seeds:
        rows = profile.table[profile.table["seed"] == seed]
        value = read(dataclasses.replace(profile, table=rows))
        assert value is not None
        yield value
