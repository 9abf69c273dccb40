"""A small profile by formula, for tests that need one but not what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from initscope.config import GPTConfig
from initscope.profile import Profile, Reading, Run, concat, frame


def make_profile(
    rule: str = "nanogpt",
    *,
    n_layer: int = 3,
    seeds: Sequence[int] = (0, 1),
    variance: Callable[[int], float] = lambda layer: 1 / (layer + 3),
) -> Profile:
    """Build a profile whose stream has ``variance(layer) · (seed + 1)`` after each layer.

    Rows are ordered layer by layer, with two statistics a layer, as a measurement leaves them.
    """
    tables = [
        frame(rule, n_layer, seed, list(_readings(n_layer, seed + 1, variance))) for seed in seeds
    ]
    run = Run(
        source="formula", device="cpu", dtype="float32", tokens="zipf, 1 x 8", batch=1, seq_len=8,
        seeds=tuple(seeds), versions={"initscope": "0.1.0"},
    )  # fmt: skip
    config = GPTConfig(n_layer=n_layer, n_embd=64, vocab_size=128, block_size=8)
    return Profile(rule=rule, config=config, run=run, table=concat(tables))


def _readings(n_layer: int, scale: int, variance: Callable[[int], float]) -> Iterator[Reading]:
    for layer in range(-1, n_layer):
        site, value = "embed" if layer < 0 else "resid_post", scale * variance(layer)
        for direction in ("forward", "backward"):
            yield Reading(layer, site, direction, "variance", value)
            yield Reading(layer, site, direction, "second_moment", 2 * value)
