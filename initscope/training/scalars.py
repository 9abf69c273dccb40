"""A profile as named numbers for a dashboard, few of them unless more are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

from initscope.errors import UsageError
from initscope.profile import Profile

PREFIX = "initscope/"
SHOWN_LAYERS = 8  # of a deep model, by default: dashboards draw a panel a scalar

# Layer by layer, then one number each.
_BY_LAYER = (
    "resid_post/{}/variance", "resid_post/{}/grad_second_moment", "attn_out/{}/branch_ratio",
    "mlp_down/{}/branch_ratio",
)  # fmt: skip
_ONCE = ("loss/loss", "model/weight_grad_grad_norm", "logits/max_abs")
_LAST = ("resid_post/{}/token_cosine", "resid_post/{}/max_abs")
_DIRECTIONS = {"forward": "", "backward": "grad_", "weight": "weight_",
               "weight_grad": "weight_grad_"}  # fmt: skip


def scalars(profile: Profile, chosen: Sequence[str] = ()) -> dict[str, float]:
    """Name a profile's numbers: ``initscope/resid_post/layer_03/variance``.

    What comes before the first block or after the last has no layer in its name. A gradient's
    statistic begins with ``grad_``, a parameter's with ``weight_``, and that of a parameter's
    gradient with ``weight_grad_``.

    Args:
        profile: of one seed at one depth.
        chosen: patterns without the prefix (``resid_post/*/variance``, ``*``); if empty, the
            stream, its gradient and the branches at up to eight layers, the loss, the
            gradient's norm, and the last layer's range and token cosine.
    """
    layers, rows = profile.config.n_layer, profile.table
    named = {
        _name(*row, layers=layers): float(value)
        for *row, value in rows[["layer", "site", "direction", "statistic", "value"]].itertuples(
            index=False, name=None
        )
    }
    wanted = chosen or _usual(layers)
    return {
        PREFIX + name: value for name, value in named.items()
        if any(fnmatchcase(name, pattern) for pattern in wanted) and not math.isnan(value)
    }  # fmt: skip


def check_patterns(chosen: Sequence[str]) -> None:
    """Refuse one pattern given as if it were several, letter by letter.

    Raises:
        UsageError: for a string.
    """
    if isinstance(chosen, str):
        raise UsageError(f"scalars is a list of patterns: [{chosen!r}]")


def _name(layer: int, site: str, direction: str, statistic: str, *, layers: int) -> str:
    place = f"{site}/{layer_label(layer, layers)}" if 0 <= layer < layers else site
    return f"{place}/{_DIRECTIONS[direction]}{statistic}"


def layer_label(layer: int, layers: int) -> str:
    """Write a layer with as many digits as the last has, two at least.

    >>> layer_label(3, 12), layer_label(3, 120)
    ('layer_03', 'layer_003')
    """
    return f"layer_{layer:0{max(2, len(str(layers - 1)))}}"


def _usual(layers: int) -> list[str]:
    count = min(layers, SHOWN_LAYERS)
    shown = {round(i * (layers - 1) / max(1, count - 1)) for i in range(count)}
    labels = [layer_label(layer, layers) for layer in sorted(shown)]
    listed = [name.format(label) for name in _BY_LAYER for label in labels]
    return [*listed, *(name.format(labels[-1]) for name in _LAST), *_ONCE]
