"""How kernels fluctuate at a finite width, beside drawn samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from initscope.options import Options
from initscope.rules import config_for
from initscope.theory import block, predict, start
from initscope.theory.fluctuation import Lever, Response, Size, wishart

DRAWS, WIDTH = 40_000, 24


def kernels(size: Size, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Draw four tokens of normal features that share a direction; return kernels (draws, 4, 4)."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(DRAWS, 1, WIDTH)) * math.sqrt(size.shared)
    own = random.normal(size=(DRAWS, 4, WIDTH)) * math.sqrt(size.square - size.shared)
    x = common + own
    return np.einsum("nif,njf->nij", x, x) / WIDTH


@pytest.mark.parametrize("size", [Size(1.0, 0.3), Size(2.0, 1.8)])
def test_normal_features_fluctuate_as_a_wishart_matrix(size: Size) -> None:
    drawn, said = kernels(size, 1), wishart(size, 2 / WIDTH)
    square, product, other = drawn[:, 0, 0], drawn[:, 0, 1], drawn[:, 2, 3]
    for one, two, expected in (
        (square, square, said.square + said.own),
        (square, drawn[:, 1, 1], said.square),
        (square, product, said.cross + said.own_cross),
        (square, other, said.cross),
        (product, other, said.shared),
    ):
        found = (one - one.mean()) * (two - two.mean())
        sampling = found.std() / math.sqrt(DRAWS)
        assert found.mean() == pytest.approx(expected, abs=5 * sampling)
    assert (
        0 <= said.cosine(size) == pytest.approx(2 / WIDTH * size.cosine**2 * (1 - size.cosine) ** 2)
    )


@pytest.mark.parametrize("size", [Size(1.0, 0.3), Size(1.0, 0.6), Size(2.0, 1.8)])
def test_the_mean_cosine_is_below_that_of_the_means(size: Size) -> None:
    drawn = kernels(size, 2)
    cosine = drawn[:, 0, 1] / np.sqrt(drawn[:, 0, 0] * drawn[:, 1, 1])
    said = wishart(size, 2 / WIDTH).bias(size)
    # Fisher 1915: the mean of a sample's correlation, to first order.
    assert said == pytest.approx(-size.cosine * (1 - size.cosine**2) / (2 * WIDTH))
    left_out = 2 * abs(said) / WIDTH  # the next order
    sampling = cosine.std() / math.sqrt(DRAWS)
    assert cosine.mean() - size.cosine == pytest.approx(said, abs=5 * sampling + left_out)


def test_a_branch_that_reads_cosines_passes_on_their_deviation() -> None:
    size, gain, skip = Size(1.0, 0.5), Response(0.7, 0.9, 0.0), 0.8
    drawn = kernels(size, 3)
    # All tokens' squares and all pairs' products, of many tokens: of two here, that share no own.
    square, product = drawn[:, 0, 0], drawn[:, 2, 3]
    before = wishart(size, 2 / WIDTH)._replace(
        square=float(np.var(square)), shared=float(np.var(product)),
        cross=float(np.cov(square, product)[0, 1]),
    )  # fmt: skip
    deviation = product - size.cosine * square
    after = skip * square + gain.square * deviation, skip * product + gain.shared * deviation
    said = before.after(size, gain, skip)
    expected = np.cov(*after)
    assert said.square == pytest.approx(expected[0, 0], rel=1e-3)
    assert said.cross == pytest.approx(expected[0, 1], rel=1e-3)
    assert said.shared == pytest.approx(expected[1, 1], rel=1e-3)
    # A lever on what leaves is a lever on what comes in.
    lever = Lever(1.3, 0.4, 0.0)
    back = lever.back(size, gain, skip)
    assert before.product(back, back) == pytest.approx(said.product(lever, lever), rel=1e-9)


def test_what_fluctuation_changes_goes_as_one_over_the_width(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first_gradients() -> list[float]:
        options = Options(seq_len=32, depth_law=False, tokens="uniform")
        shape = {"n_layer": 6, "vocab_size": 2**20}
        return [
            predict(config_for("xavier", n_embd=width, **shape), "xavier", options)
            .select("resid_post", "backward", "variance").to_numpy()[0, 0]
            for width in (512, 2048)
        ]  # fmt: skip

    followed = first_gradients()
    for module in (block, start):
        monkeypatch.setattr(module, "wishart", lambda size, _: wishart(size, 0.0))
    left_out = first_gradients()
    narrow, wide = (math.log(a / b) for a, b in zip(followed, left_out, strict=True))
    assert narrow > 0.01  # several per cent that the limit of infinite width lacks
    assert narrow / wide == pytest.approx(4, rel=0.1)


def test_the_spread_goes_as_one_over_the_root_of_the_width() -> None:
    spreads = []
    for width in (256, 1024):
        config = config_for("xavier", n_layer=6, n_embd=width, vocab_size=2**20)
        options = Options(seq_len=32, depth_law=False, tokens="uniform")
        profile = predict(config, "xavier", options)
        spreads.append(profile.select("resid_post", "forward", "spread").to_numpy()[-1, 0])
    assert spreads[0] / spreads[1] == pytest.approx(2, rel=0.05)
