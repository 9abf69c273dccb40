"""What theory does not cover, said instead of a number."""

from __future__ import annotations

import dataclasses

from initscope.config import GPTConfig
from initscope.errors import UsageError

_KNOWN = frozenset(
    {
        "n_layer", "n_embd", "n_head", "n_kv_head", "d_ff", "vocab_size", "block_size", "norm",
        "norm_kind", "activation", "positions", "bias", "tied", "qk_norm", "rope_theta", "norm_eps",
        "branches", "embed_norm", "inner_norm", "rope_share",
    }
)  # fmt: skip
# The values of what has more of them than theory knows.
_VALUES = {
    "norm": ("pre", "post", "sandwich", "output", "none"),
    "positions": ("learned", "rope", "sinusoidal", "none"),
}


def require(config: GPTConfig) -> None:
    """Refuse an architecture that the formulas are not about.

    Raises:
        UsageError: naming the field.
    """
    for name, values in _VALUES.items():
        value = getattr(config, name)
        if value not in values:
            raise UsageError(f"theory does not cover {name} {value}, only {', '.join(values)}")
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in _KNOWN and value != field.default:
            raise UsageError(f"theory does not cover {field.name} = {value}")
