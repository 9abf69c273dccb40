"""What is read off outside the blocks: embedding, head, loss, and all parameters together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.sites import block_parameters, embedding_parameters, head_parameters
from initscope.theory.block import Block
from initscope.theory.ends import Ends, Loss
from initscope.theory.gains import Map
from initscope.theory.readings import Activation, free, moments, stream
from initscope.theory.series import Series

Array = npt.NDArray[np.floating[Any]]


def record_embedding(
    series: Series, block: Block, ends: Ends, back: tuple[Array, float] | None
) -> None:
    """Record what precedes the blocks; ``back`` is the gradient there, and its spread."""
    batch, width, first = ends.batch, ends.config.n_embd, ends.start
    start = first.stream
    positions = np.broadcast_to(start.mean, len(batch.at.start))
    features = width if first.normed is None else free(ends.norm, width)
    sites = ["embed"] if first.normed is None else ["norm_embed", "embed"]
    for site in sites:
        one = Activation(site, start.kernel, features, positions)
        series.add(-1, site, "forward", **moments(batch, one))
        if back is not None:
            one = Activation(site, back[0], width)
            series.add(-1, site, "backward", **moments(batch, one))
    series.add(-1, "embed", "forward", **stream(block, start))
    if back is None:
        return
    series.add(-1, "embed", "backward", spread=back[1])
    gradient = back[0]
    if first.normed is not None:
        _record_norm(series, ends, "norm_embed", -1, (gradient, start.kernel, first.first))
    gradient = first.before_norm(gradient)
    if ends.config.positions == "learned":
        same = batch.sequences * float(gradient[0, :, -1] @ batch.at.single)
        if len(gradient) > 1:
            across = float(gradient[1, :, -1] @ batch.at.single)
            same += batch.sequences * (batch.sequences - 1) * across
        square = first.embed**2 * same * batch.at.length / ends.config.block_size
        series.add(-1, "wpe", "weight_grad", second_moment=square)


def record_head(series: Series, ends: Ends, loss: Loss, gradient: Array | None) -> None:
    """Record what follows the blocks."""
    config, batch = ends.config, ends.batch
    last = config.n_layer
    if loss.normed is not None:
        one = Activation("norm_f", loss.x, free(ends.norm, config.n_embd))
        series.add(last, "norm_f", "forward", **moments(batch, one))
        if batch.at.length > 1:
            series.add(last, "norm_f", "forward", token_cosine=batch.cosine(loss.x))
        if gradient is not None:
            back = Activation("norm_f", gradient, config.n_embd)
            series.add(last, "norm_f", "backward", **moments(batch, back))
            _record_norm(series, ends, "norm_f", last, (gradient, loss.x, ends.gain))
    logits = ends.logits**2 * config.n_embd * ends.head * loss.x
    logits[0, :, -1] += loss.token**2 / config.vocab_size
    kernel = Activation("logits", logits, config.vocab_size)
    series.add(last, "logits", "forward", **moments(batch, kernel))
    if gradient is not None:
        errors = Activation("logits", ends.errors(loss) / config.vocab_size, math.inf)
        series.add(last, "logits", "backward", **moments(batch, errors))
    excess = loss.loss - math.log(config.vocab_size)
    series.add(last, "loss", "forward", loss=loss.loss, loss_excess=excess)


def _record_norm(
    series: Series, ends: Ends, label: str, layer: int, at: tuple[Array, Array, Map]
) -> None:
    """Record a norm's own gradients; ``at`` is the gradient and the kernel of its output."""
    gradient, kernel, gain = at
    plain = (kernel - gain.shift) / gain.scale
    square = max(ends.batch.total(gradient, plain), 0.0)
    series.add(layer, label, "weight_grad", second_moment=square)
    if ends.config.bias and ends.norm.centred:
        square = max(ends.batch.total(gradient, np.ones_like(gradient)), 0.0)
        series.add(layer, f"{label}.bias", "weight_grad", second_moment=square)


def record_ends(series: Series, ends: Ends, loss: Loss, gradient: Array) -> None:
    """Record the gradients of the tables, and of all parameters together."""
    config = ends.config
    looked, unembedded = ends.looked_up(gradient), ends.unembedded(loss)
    if config.tied:  # the two parts of one table are taken for orthogonal
        series.add(-1, "wte", "weight_grad", second_moment=looked + unembedded)
    else:
        series.add(-1, "wte", "weight_grad", second_moment=looked)
        series.add(config.n_layer, "head", "weight_grad", second_moment=unembedded)
    total = sum(
        math.prod(p.shape) * series.sum(p.label, "weight_grad", "second_moment")
        for p in (
            *embedding_parameters(config), *block_parameters(config, 0), *head_parameters(config)
        )
    )  # fmt: skip
    series.add(config.n_layer, "model", "weight_grad", grad_norm=math.sqrt(total))
