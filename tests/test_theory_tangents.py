"""What an earlier layer hears of a gradient, beside matrices over tokens, draws and models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from initscope.rules import config_for, get_rule
from initscope.theory import recursion, retrace
from initscope.theory.adjoint import attended, heard, heard_alone, heard_twice
from initscope.theory.block import Block
from initscope.theory.ends import Ends
from initscope.theory.gains import Gains
from initscope.theory.kernels import Batch, batch
from initscope.theory.matches import Matches
from initscope.theory.returning import Met
from initscope.theory.tangents import Tangents

Array = npt.NDArray[np.floating[Any]]

MATCHES = Matches(0.05, 0.05, 0.05, 0.01)


def kernel(pairs: Batch, seed: int, sequences: int = 1) -> Array:
    """Draw a kernel over the bins, alike both ways round."""
    random = np.random.default_rng(seed)
    size = len(pairs.at.start)
    drawn = random.normal(size=(sequences, size, size + 1))
    drawn[..., :-1] += drawn[..., :-1].swapaxes(-1, -2)
    drawn[..., -1] = np.abs(drawn[..., -1]) + 1
    return drawn


def over_tokens(pairs: Batch, one: Array) -> Array:
    """Spread a kernel (P, P + 1) over the tokens of a sequence (T, T)."""
    at = pairs.at
    place = np.repeat(np.arange(len(at.start)), at.sizes.astype(int))
    matrix = one[place][:, place]
    np.fill_diagonal(matrix, one[place, -1])
    return matrix


def test_traces_are_those_of_matrices_over_tokens() -> None:
    pairs = batch(3, 23)
    tangents, gradient = kernel(pairs, 1), kernel(pairs, 2, sequences=2)
    b, within, across = (over_tokens(pairs, one) for one in (tangents[0], *gradient))
    assert heard(pairs, tangents, gradient) == pytest.approx(np.trace(b @ within))
    assert heard_alone(pairs, tangents, gradient) == pytest.approx(np.diag(b) @ np.diag(within))
    whole = np.kron(np.eye(3), within) + np.kron(1 - np.eye(3), across)
    product = np.kron(np.eye(3), b) @ whole
    assert heard_twice(pairs, tangents, gradient) == pytest.approx(np.trace(product @ product) / 9)


def test_what_is_heard_of_normal_features_varies_by_the_trace_of_the_square() -> None:
    pairs, width, draws = batch(1, 5), 16, 40_000
    random = np.random.default_rng(3)
    roots = random.normal(size=(2, 5, 5))
    b, g = roots @ roots.swapaxes(-1, -2)
    features = np.linalg.cholesky(g) @ random.normal(size=(draws, 5, width))
    found = np.einsum("nti,ts,nsi->n", features, b, features) / width
    tangents, gradient = (
        np.concatenate([one, np.diagonal(one)[:, None]], axis=1)[None] for one in (b, g)
    )
    said = 2 / width * heard_twice(pairs, tangents, gradient)[0]
    assert found.mean() == pytest.approx(heard(pairs, tangents, gradient)[0], rel=0.01)
    # The deviation of a variance is √(2/n) for normal numbers; these are of few features.
    assert found.var() == pytest.approx(said, rel=8 * math.sqrt(2 / draws))


def way_back(rule: str, length: int, sequences: int = 1, **shape: Any) -> tuple[Block, list[Any]]:
    """Return a model's blocks with their gradients, from the first, and the last gradient."""
    config = config_for(rule, **{"n_layer": 4, "n_embd": 64, "vocab_size": 256, **shape})
    pairs, named = batch(sequences, length), get_rule(rule)
    ends, block = Ends.of(config, named, pairs, MATCHES), Block(config, pairs)
    gone = recursion.forward(block, Gains(config, named), recursion.State(ends.start.stream, 1.0))
    loss = ends.loss(gone.end.stream, gone.end.skipped)
    gradient = ends.back(ends.gradient(loss, gone.end.stream.kernel), loss, 0.0)
    way = ends.way(gone.end.stream, loss, 0.0)
    return block, list(retrace.backward(block, gone.steps, gradient, way))[::-1]


@pytest.mark.parametrize(
    "shape",
    [{}, {"positions": "rope"}, {"qk_norm": True}, {"norm": "post"}, {"branches": "shared"}],
)
@pytest.mark.parametrize("length", [4, 40])  # bins of one position, and of several
def test_tangents_hear_through_attention_what_comes_back(
    length: int, shape: dict[str, Any]
) -> None:
    block, blocks = way_back("xavier", length, **shape)
    for one in blocks:
        tangents, gradient = np.abs(kernel(block.batch, 4)), np.abs(kernel(block.batch, 5))
        there = block.attention.backward(gradient, one.trace.mixed, one.trace.layer).x
        here = attended(block.attention, tangents, one.trace.mixed, one.trace.layer)
        expected = heard(block.batch, tangents, there)
        # How two keys share a query's weight is taken to first order on one of both ways.
        assert heard(block.batch, here, gradient) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    "shape",
    [{}, {"norm": "post"}, {"norm": "sandwich"}, {"norm": "none"}, {"branches": "parallel"},
     {"branches": "shared"}, {"inner_norm": True}, {"activation": "swiglu"}],
)  # fmt: skip
@pytest.mark.parametrize("sequences", [1, 3])
def test_a_block_lets_tangents_hear_the_gradient_behind_it(
    sequences: int, shape: dict[str, Any]
) -> None:
    rule = "nanogpt" if shape.get("norm") == "none" else "xavier"
    block, blocks = way_back(rule, 4, sequences, **shape)
    tangents = Tangents(block)
    for one in blocks:
        kernels = np.abs(kernel(block.batch, 6))
        _, after = tangents.carried(kernels, one)
        expected = heard(block.batch, kernels, one.gradients.pre)
        assert heard(block.batch, after, one.gradients.post) == pytest.approx(expected, rel=0.03)
    assert len(blocks) == block.config.n_layer


LAYERS, TOKENS, WIDTH, PASSED = 12, 5, 64, 0.4


def returned(draws: int) -> Array:
    """Draw maps x + √PASSED · A x W, A the causal mean; return ln mean gradient² of x (draws,)."""
    random = np.random.default_rng(7)
    gradient = random.normal(size=(draws, TOKENS, WIDTH))
    for _ in range(LAYERS):
        weight = random.normal(size=(draws, WIDTH, WIDTH)) * math.sqrt(PASSED / WIDTH)
        gradient = gradient + causal_mean().T @ gradient @ weight
    return np.log((gradient**2).mean(axis=(1, 2)))


def causal_mean() -> Array:
    """Return each token's mean over itself and those before (T, T)."""
    return np.tri(TOKENS) / np.arange(1, TOKENS + 1)[:, None]


def packed(matrix: Array) -> Array:
    """Return a kernel over bins of one position each."""
    return np.concatenate([matrix, np.diag(matrix)[:, None]], axis=1)[None]


def test_gradients_that_gather_in_one_token_scatter_as_tangents_hear_them() -> None:
    mean, pairs = causal_mean(), batch(1, TOKENS)
    tangents = Tangents(Block(config_for("xavier", n_layer=1, n_embd=WIDTH), pairs))
    at_end: Array = np.eye(TOKENS)
    g: Array = at_end
    met = []
    for _ in range(LAYERS):
        met.append(
            Met(packed(g), packed(PASSED * mean.T @ g @ mean), 0 * packed(g), 1.0, 0.0, 0.0, 0.0)
        )
        g = g + PASSED * mean.T @ g @ mean
    b: Array = np.eye(TOKENS)
    heard_there, share_alone = 0.0, 0.0
    for one in reversed(met):
        heard_there += tangents.drawn(packed(b), one)[0]
        share_alone += tangents.drawn(packed(np.eye(TOKENS)), one)[0]
        b = np.asarray(b + PASSED * mean @ b @ mean.T)
    tangents.kernels, tangents.scatter = packed(b), np.array([heard_there])
    said = tangents.ended(packed(at_end), 0.0)[0]
    draws = 3000
    found = returned(draws).var()
    # A variance's standard error, and the next order in 1/width.
    assert said == pytest.approx(found, rel=4 * math.sqrt(2 / draws) + 2 / WIDTH + said / 2)
    assert share_alone + 2 / WIDTH / TOKENS < 0.8 * found  # each layer's share is not enough
