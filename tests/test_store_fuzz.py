"""However a saved file is damaged, loading it gives profiles or a UsageError, nothing else."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from factory import make_profile
from initscope.errors import UsageError
from initscope.store import encode, load

PROFILE = make_profile(n_layer=2, variance=lambda layer: 1 / layer if layer else math.inf)
JSON, PARQUET = encode([PROFILE], "json"), encode([PROFILE], "parquet")

ODD: list[Any] = [
    None, True, -1, 0, 1.5, 10**30, 1e-320, "", "x", "\ud800", "inf", [], [None], {}, {"inf": [0]},
]  # fmt: skip


def slots(node: Any) -> Iterator[tuple[Any, Any]]:
    """List every (container, key) below a node of a document."""
    for key in list(node if isinstance(node, dict) else range(len(node))):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from slots(node[key])


def mutate(saved: Any, dice: random.Random) -> bytes:
    """Delete, replace, rename or swap one to three places of a document."""
    for _ in range(dice.randint(1, 3)):
        places = list(slots(saved))
        if not places:
            break
        container, key = dice.choice(places)
        kind = dice.randrange(4)
        if kind == 0:
            del container[key]
        elif kind == 1:
            container[key] = copy.deepcopy(dice.choice(ODD))
        elif kind == 2 and isinstance(container, dict):
            container[dice.choice(["", "value", "inf", key + "x"])] = container.pop(key)
        else:
            other, place = dice.choice(places)
            container[key] = copy.deepcopy(other[place]) if place in slot_keys(other) else None
    return json.dumps(saved).encode()


def slot_keys(node: Any) -> Any:
    return node if isinstance(node, dict) else range(len(node))


def scramble(data: bytes, dice: random.Random) -> bytes:
    """Overwrite, cut out, double or cut off a few bytes."""
    damaged = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        start = dice.randrange(len(damaged) + 1)
        end = min(len(damaged), start + dice.randint(1, 8))
        part = [dice.randbytes(end - start), b"", damaged[start:end] * 2, b"0", b"-", b'"', b"]"]
        damaged[start:end] = dice.choice(part)
    return bytes(damaged[: dice.choice([None, None, None, dice.randrange(len(damaged) + 1)])])


def survives(path: Path, data: bytes) -> bool:
    """Tell whether damaged data could be loaded; anything but a UsageError is raised."""
    path.write_bytes(data)
    try:
        loaded = load(path)
    except UsageError:
        return False
    assert loaded
    assert encode(loaded, "json")
    return True


def fates(path: Path, damage: Callable[[random.Random], bytes], times: int = 300) -> set[bool]:
    """Damage and load again and again, each time with the next seed."""
    dice = (random.Random(seed) for seed in range(times))  # noqa: S311 - repeatable, not secret
    return {survives(path, damage(one)) for one in dice}


def test_json_with_wrong_fields(tmp_path: Path) -> None:
    assert fates(tmp_path / "a.json", lambda dice: mutate(json.loads(JSON), dice)) == {True, False}


@pytest.mark.parametrize("name", ["a.json", "a.parquet", "no-suffix"])
def test_scrambled_bytes(tmp_path: Path, name: str) -> None:
    data = PARQUET if name == "a.parquet" else JSON
    assert False in fates(tmp_path / name, lambda dice: scramble(data, dice))
