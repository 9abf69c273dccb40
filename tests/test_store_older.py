"""Files of earlier versions load: what came later takes its default."""

from __future__ import annotations

import json
from pathlib import Path

from factory import make_profile
from initscope.store import encode, load


def test_a_file_without_the_newest_fields_takes_their_defaults(tmp_path: Path) -> None:
    """Fields of a configuration that came after version 0.1.0."""
    newer = ("branches", "embed_norm", "inner_norm", "rope_share")
    saved = json.loads(encode([make_profile()], "json"))
    for name in newer:
        del saved["profiles"][0]["config"][name]
    (tmp_path / "old.json").write_text(json.dumps(saved))
    (profile,) = load(tmp_path / "old.json")
    assert profile.config == make_profile().config
    assert profile.config.branches == "sequential"
