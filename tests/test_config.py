"""Shapes: what depth alone gives, what presets are, and what is refused."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from initscope.config import PRESETS, GPTConfig, default_heads, preset
from initscope.errors import UsageError
from initscope.rules import config_for
from initscope.sites import all_parameters


def parameters(config: GPTConfig) -> int:
    return sum(math.prod(parameter.shape) for parameter in all_parameters(config))


def test_depth_alone_is_gpt2() -> None:
    config = GPTConfig(n_layer=12)
    assert (config.n_embd, config.n_head, config.n_kv_head, config.d_ff) == (768, 12, 12, 3072)
    assert config.norm == "pre"
    assert config.final_norm


# Published counts, in millions; Llama's from its model cards.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("gpt2", 124.44), ("gpt2-medium", 354.82), ("gpt2-large", 774.03), ("gpt2-xl", 1557.61),
        ("gpt3-13b", 12_853), ("gpt3-175b", 174_600), ("llama2-7b", 6738.4),
        ("llama3-8b", 8030.3), ("llama3-70b", 70_553.7),
    ],
)  # fmt: skip
def test_presets_have_the_published_size(name: str, millions: float) -> None:
    count = parameters(config_for("nanogpt", **preset(name)))
    assert count / 1e6 == pytest.approx(millions, rel=2e-4)


def test_every_preset_is_tested() -> None:
    assert len(PRESETS) == 9


def test_gated_hidden_width_keeps_the_parameter_count() -> None:
    plain, gated = GPTConfig(n_layer=1), GPTConfig(n_layer=1, activation="swiglu")
    assert gated.d_ff % 64 == 0
    assert parameters(gated) == pytest.approx(parameters(plain), rel=0.01)


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (64, 1), (128, 2), (1600, 25), (97, 1)])
def test_default_heads_divide_the_width(width: int, heads: int) -> None:
    assert default_heads(width) == heads


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_layer": 0}, "n_layer must be a whole number from 1 to 10000000, not 0"),
        ({"n_embd": -8}, "n_embd must be a whole number"),
        ({"n_layer": 2.5}, "n_layer must be a whole number from 1 to 10000000, not 2.5"),
        ({"n_embd": 100, "n_head": 3}, "n_embd 100 is not a multiple of n_head 3"),
        ({"n_head": 12, "n_kv_head": 5}, "n_head 12 is not a multiple of n_kv_head 5"),
        ({"norm": "pree"}, "unknown norm 'pree': did you mean 'pre'?"),
        ({"activation": "swigl"}, "did you mean 'swiglu'?"),
        ({"norm_kind": "rms"}, "did you mean 'rmsnorm'?"),
        ({"n_embd": 9, "n_head": 3, "positions": "rope"}, "head size 3 is odd"),
        ({"branches": "paralel"}, "unknown branches 'paralel': did you mean 'parallel'?"),
        ({"branches": "parallel", "norm": "post"}, "parallel branches do not go with norm post"),
        ({"branches": "shared", "norm": "none"}, "choose norm pre, or branches sequential"),
        ({"branches": "shared", "norm": "output"}, "shared branches do not go with norm output"),
        ({"rope_share": 0.0}, "rope_share must be above 0 and at most 1, not 0.0"),
        ({"rope_share": 1.5}, "rope_share must be above 0 and at most 1, not 1.5"),
        ({"rope_share": math.nan}, "rope_share must be above 0 and at most 1, not nan"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        GPTConfig(**{"n_layer": 2, **fields})


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'gpt2-xl'"):
        preset("gpt2xl")
    with pytest.raises(UsageError, match="did you mean 'n_layer'"):
        GPTConfig.from_dict({"n_layers": 2})


def test_a_configuration_survives_its_dictionary() -> None:
    config = GPTConfig(n_layer=3, activation="geglu", tied=False)
    assert GPTConfig.from_dict(config.to_dict()) == config
    assert config.at_depth(5).n_layer == 5
