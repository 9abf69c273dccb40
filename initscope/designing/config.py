"""The designed rule as a settings file has it, and as ``--rule`` takes it in one piece."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any


def toml(name: str, about: Mapping[str, str], said: Mapping[str, Any], notes: Iterable[str]) -> str:
    """Return the table ``[rules.NAME]``, the notes above it as comments."""
    lines = [f"# {note}" for note in notes]
    lines.append(f"[rules.{_key(name)}]")
    lines += [f"{key} = {_value(value)}" for key, value in {**about, **said}.items()]
    return "\n".join(lines) + "\n"


def inline(base: str, said: Mapping[str, Any]) -> str:
    """Return ``nanogpt:residual.std=3.2*0.02/sqrt(2*n_layer)``."""
    changes = ",".join(f"{key}={_plain(value)}" for key, value in said.items())
    return f"{base}{',' if ':' in base else ':'}{changes}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else _text(name)


def _value(value: object) -> str:
    return _text(value) if isinstance(value, str) else _plain(value)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(text: str) -> str:
    # What JSON escapes, TOML escapes alike; DEL alone has to be in TOML and need not in JSON.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
