"""Predictions beside measurements: every architecture, and the band."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

import numpy as np
import pytest

import initscope
from initscope.options import Options
from initscope.profile import Profile
from initscope.rules import config_for
from initscope.theory import predict
from initscope.theory.band import band

SEEDS = 12
SHAPE: dict[str, Any] = {"n_layer": 5, "n_embd": 96, "n_head": 3, "vocab_size": 256}
OPTIONS = Options(seeds=SEEDS, seq_len=32, device="cpu", depth_law=False)

# What the formulas leave out goes as 1/width, which is small here.
MODEL = 0.04

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "nanogpt": ("nanogpt", {}),
    "xavier": ("xavier", {}),
    "post": ("nanogpt", {"norm": "post"}),
    "deepnorm": ("deepnorm", {}),
    "sandwich": ("xavier", {"norm": "sandwich"}),
    "no norm": ("nanogpt-flat", {"norm": "none"}),
    "llama": ("olmo-fan-in", {"n_kv_head": 1}),
    "qk-norm": ("lecun", {"qk_norm": True, "activation": "relu2", "positions": "rope"}),
    "torch": ("torch", {"bias": True}),
    "mup": ("mup", {"activation": "silu", "tied": False}),
    "relu": ("kaiming", {"activation": "relu", "norm_kind": "rmsnorm"}),
    "geglu": ("nanogpt", {"activation": "geglu", "positions": "none"}),
    "gpt-j": ("nanogpt", {"branches": "shared", "positions": "rope", "rope_share": 0.25}),
    "neox": ("xavier", {"branches": "parallel", "positions": "rope", "rope_share": 0.25}),
    "bloom": ("xavier", {"embed_norm": True}),
    "olmo-2": ("xavier", {"norm": "output", "qk_norm": True, "norm_kind": "rmsnorm"}),
    "sub-ln": ("xavier", {"inner_norm": True}),
    "sinusoidal": ("nanogpt", {"positions": "sinusoidal"}),
    "sinusoidal rms": ("xavier", {"positions": "sinusoidal", "norm_kind": "rmsnorm"}),
}


@cache
def both(name: str, batch: int = 1) -> tuple[Profile, Profile]:
    rule, shape = MODELS[name]
    config = config_for(rule, **{**SHAPE, **shape})
    options = dataclasses.replace(OPTIONS, batch=batch)
    return predict(config, rule, options), initscope.inspect(config, rule, options)


def off(name: str, site: str, direction: str, statistic: str, batch: int = 1) -> float:
    """Return the largest error, in units of what sampling and the formulas' 1/width allow."""
    predicted, measured = (one.select(site, direction, statistic) for one in both(name, batch))
    assert list(predicted.index) == list(measured.index)
    said, found = predicted.to_numpy()[:, 0], measured.to_numpy()
    mean = found.mean(axis=1)
    sampling = found.std(axis=1, ddof=1) / math.sqrt(SEEDS)
    # Student's t for 11 degrees at 4e-5, two-sided: layers and statistics are many.
    return float((np.abs(said - mean) / (6.5 * sampling + MODEL * np.abs(mean))).max())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("site", "direction", "statistic"),
    [
        ("embed", "forward", "variance"),
        ("resid_post", "forward", "variance"),
        ("resid_post", "forward", "second_moment"),
        ("resid_post", "forward", "token_cosine"),
        ("q", "forward", "variance"),
        ("attn", "forward", "second_moment"),
        ("attn_out", "forward", "branch_ratio"),
        ("attn", "forward", "attention_entropy"),
        ("mlp_act", "forward", "variance"),
        ("mlp_act", "forward", "mean"),
        ("mlp_down", "forward", "second_moment"),
        ("mlp_down", "forward", "branch_ratio"),
        ("logits", "forward", "variance"),
        ("loss", "forward", "loss"),
        ("logits", "backward", "second_moment"),
        ("resid_post", "backward", "variance"),
        ("mlp_up", "backward", "second_moment"),
        ("attn", "backward", "second_moment"),
        ("embed", "backward", "second_moment"),
        ("mlp_down", "weight_grad", "second_moment"),
        ("attn_out", "weight", "variance"),
        ("wte", "weight", "variance"),
    ],
)
def test_what_is_predicted_is_what_is_measured(
    name: str, site: str, direction: str, statistic: str
) -> None:
    assert off(name, site, direction, statistic) < 1


@pytest.mark.parametrize(
    ("name", "site", "direction"),
    [("bloom", "norm_embed", "forward"), ("bloom", "norm_embed", "backward"),
     ("bloom", "norm_embed", "weight_grad"), ("sub-ln", "norm_attn", "forward"),
     ("sub-ln", "norm_attn", "backward"), ("sub-ln", "norm_attn", "weight_grad"),
     ("sub-ln", "norm_mlp", "forward"), ("sub-ln", "norm_mlp", "backward"),
     ("sub-ln", "norm_mlp", "weight_grad"), ("gpt-j", "norm_1", "backward"),
     ("neox", "norm_2", "backward"), ("gpt-j", "norm_1", "weight_grad"),
     ("gpt-j", "resid_mid", "backward"), ("olmo-2", "norm_1_out", "forward")],
)  # fmt: skip
def test_norms_that_few_models_have(name: str, site: str, direction: str) -> None:
    assert off(name, site, direction, "second_moment") < 1


@pytest.mark.parametrize("statistic", ["second_moment", "variance"])
def test_pairs_of_two_sequences_count(statistic: str) -> None:
    assert off("xavier", "resid_post", "forward", statistic, batch=3) < 1
    assert off("xavier", "mlp_up", "weight_grad", "second_moment", batch=3) < 1
    one, three = (
        both("xavier", batch)[0].select("mlp_up", "weight_grad", "second_moment").to_numpy()[-1, 0]
        for batch in (1, 3)
    )
    assert three < 0.7 * one  # gradients of different sequences hardly add up


def test_sharp_attention_of_a_narrow_model_adds_what_is_said() -> None:
    seeds = 150
    options = Options(
        seeds=seeds, seq_len=32, device="cpu", depth_law=False, forward_only=True, tokens="uniform"
    )
    config = config_for("kaiming", n_layer=1, n_embd=48, n_head=4, vocab_size=256)
    found = initscope.inspect(config, "kaiming", options).select("attn", "forward", "second_moment")
    said = predict(config, "kaiming", options).select("attn", "forward", "second_moment")
    ratio = found.to_numpy()[0] / said.to_numpy()[0, 0]
    assert ratio.mean() == pytest.approx(1, abs=3 * ratio.std(ddof=1) / math.sqrt(seeds))


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_single_seeds_lie_in_the_band(direction: str) -> None:
    inside = []
    for name in ("nanogpt", "xavier", "relu", "sandwich", "geglu", "mup"):
        predicted, measured = both(name)
        low, high = band(predicted, direction)
        found = measured.select("resid_post", direction, "variance").to_numpy()
        inside.append((found >= low[:, None]) & (found <= high[:, None]))
    assert 0.85 < np.mean(inside) <= 1.0  # 360 of them, layers of one seed alike


def test_a_wider_band_is_no_way_to_be_right() -> None:
    predicted, measured = both("xavier")
    for direction in ("forward", "backward"):
        spread = predicted.select("resid_post", direction, "spread").to_numpy()[:, 0]
        logs = np.log(measured.select("resid_post", direction, "variance").to_numpy())
        assert np.mean(spread) < 2.5 * np.mean(logs.std(axis=1, ddof=1))


def test_every_site_and_statistic_is_one_that_is_measured() -> None:
    predicted, measured = both("llama")
    names = ["layer", "site", "direction", "statistic"]
    said, known = (set(map(tuple, one.table[names].to_numpy())) for one in (predicted, measured))
    assert {key for key in said - known if key[3] != "spread"} == set()
    missing = {key[3] for key in known - said if key[2] != "weight"}
    assert missing == {
        "max_abs", "kurtosis", "headroom_fp16", "headroom_bf16", "zero_share", "saturated_share",
    }  # fmt: skip
