"""What was measured: the model, the tokens and the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from initscope.config import GPTConfig
from initscope.notation import count, counted
from initscope.profile import Profile, Run
from initscope.sites import all_parameters


def facts(profile: Profile) -> list[str]:
    """Say in a few words each how the model is built and how it was measured."""
    run = profile.run
    return [
        *([run.model, *_own_facts(profile)] if run.model else architecture(profile.config)),
        f"tokens {run.tokens}",
        *(["theory, not measured"] if run.predicted else _measured(run)),
    ]


def architecture(config: GPTConfig) -> list[str]:
    """Say how the model is built."""
    return [
        *shape(config),
        f"{count(_parameters(config))} parameters",
        *_norms(config),
        f"{config.activation}{', qk-norm' if config.qk_norm else ''}",
        _positions(config),
        "tied head" if config.tied else "untied head",
        "biases" if config.bias else "no biases",
    ]


def _own_facts(profile: Profile) -> list[str]:
    """Say of a user's model only what was found in it."""
    config = profile.config
    return [
        counted(config.n_layer, "layer"),
        f"width {config.n_embd}",
        f"vocabulary {config.vocab_size}",
        f"{count(profile.run.parameters)} parameters",
        f"{config.norm}-norm" if config.norm != "none" else "no norm",
    ]


def shape(config: GPTConfig) -> list[str]:
    """Say how large the model is."""
    heads = counted(config.n_head, "head")
    if config.n_kv_head != config.n_head:
        heads += f", {config.n_kv_head} for keys"
    return [
        counted(config.n_layer, "layer"),
        f"width {config.n_embd}",
        heads,
        f"d_ff {config.d_ff}",
        f"vocabulary {config.vocab_size}",
    ]


def _norms(config: GPTConfig) -> list[str]:
    """Say where norms are, and what reads what they give."""
    kind = f" ({config.norm_kind})"
    said = [f"{config.norm}-norm{kind}" if config.norm != "none" else "no norm"]
    said += ["embedding norm"] if config.embed_norm else []
    said += ["inner norms"] if config.inner_norm else []
    parallel = {"parallel": "parallel branches", "shared": "parallel branches after one norm"}
    return [*said, parallel[config.branches]] if config.branches in parallel else said


def _positions(config: GPTConfig) -> str:
    words = {"rope": "rope", "alibi": "alibi", "none": "no positions"}
    said = words.get(config.positions, f"{config.positions} positions")
    part = config.rotated / config.head_size
    return f"{said} on {part:.0%} of each head" if said == "rope" and part < 1 else said


def common_facts(profiles: Sequence[Profile]) -> list[str]:
    """Return the facts that all profiles share."""
    each = [facts(profile) for profile in profiles]
    return [fact for fact in each[0] if all(fact in others for others in each)] if each else []


def labels(profiles: Sequence[Profile]) -> list[str]:
    """Name each profile by its rule, its depth where depths differ, and what else it takes."""
    names = [profile.rule for profile in profiles]
    fields = [{**profile.config.to_dict(), **_run_fields(profile)} for profile in profiles]
    for key in fields[0] if fields else ():
        if len({each[key] for each in fields}) > 1:
            names = [
                f"{name} {key}={each[key]}" if key == "n_layer" or names.count(name) > 1 else name
                for name, each in zip(names, fields, strict=True)
            ]
    return [
        f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _run_fields(profile: Profile) -> dict[str, object]:
    run = profile.run
    return {
        "source": run.source, "dtype": run.dtype, "device": run.device, "tokens": run.tokens,
        "seeds": len(run.seeds), "step": run.step,
    }  # fmt: skip


def listed(names: Sequence[str], most: int = 3) -> str:
    """Join names: all where they are few, else the first ones and how many more.

    >>> listed(["a", "b"]), listed(list("abcde"))
    ('a, b', 'a, b and 3 more')
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def _parameters(config: GPTConfig) -> int:
    return sum(math.prod(parameter.shape) for parameter in all_parameters(config))


def _measured(run: Run) -> list[str]:
    drawn = _seeds(run.seeds) if run.step is None else f"step {run.step}"
    return [f"{run.dtype} on {run.device}", drawn]


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]}–{seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"
