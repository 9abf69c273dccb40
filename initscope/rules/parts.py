"""What can be named in a rule: single parameters, groups of them, and factors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from initscope.errors import unknown
from initscope.rules.core import EMBEDDINGS, RESIDUAL, ROLES, Multipliers

T = TypeVar("T")

VECTORS = frozenset({"norm_gain", "norm_bias", "bias"})


def _ordered(roles: frozenset[str]) -> tuple[str, ...]:
    return tuple(role for role in ROLES if role in roles)


# Of any two that overlap, one names fewer roles than the other.
GROUPS = {
    "residual": _ordered(RESIDUAL),
    "embeddings": _ordered(EMBEDDINGS),
    "qkv": ("q", "k", "v"),
    "mlp": ("mlp_gate", "mlp_up", "mlp_down"),
    "blocks": _ordered(frozenset(ROLES) - VECTORS - EMBEDDINGS),
    "matrices": _ordered(frozenset(ROLES) - VECTORS),
}
FACTORS = {
    **{field.name: (field.name,) for field in dataclasses.fields(Multipliers)},
    "skip": ("skip_attn", "skip_mlp"),
    "branch": ("branch_attn", "branch_mlp"),
}
DRAWN: dict[str, tuple[str, ...]] = {**{role: (role,) for role in ROLES}, **GROUPS}
PARTS = {**DRAWN, **FACTORS}


def spread(said: Mapping[str, T]) -> dict[str, T]:
    """Give each single role or factor what the key that names the fewest of them says.

    >>> spread({"attn_out": 1, "residual": 2})
    {'attn_out': 1, 'mlp_down': 2}

    Raises:
        UsageError: for a key that names none.
    """
    for key in said:
        if key not in PARTS:
            raise unknown("role, group or factor", key, PARTS)
    widest_first = sorted(said, key=lambda key: -len(PARTS[key]))
    return {part: said[key] for key in widest_first for part in PARTS[key]}
