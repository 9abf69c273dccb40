"""Token ids for a user's model: as many as its table holds, as long as it takes."""

from __future__ import annotations

import torch
from torch import nn

from initscope.errors import UsageError
from initscope.options import DEFAULT_SEQ_LEN, Options
from initscope.target.factory import Factory
from initscope.tokens import tokens


def token_ids(
    model: nn.Module, options: Options, factory: Factory | None, seed: int
) -> torch.Tensor:
    """Make token ids (B, T + 1) that a model can take, on its device.

    Raises:
        UsageError: where its vocabulary cannot be told, or it takes no sequence that long.
    """
    vocab = _vocabulary(model, factory)
    limit = _length(model, factory)
    length = options.seq_len or min(DEFAULT_SEQ_LEN, limit or DEFAULT_SEQ_LEN)
    if limit and length > limit:
        raise UsageError(f"--seq-len {length} is beyond the model's {limit} positions")
    made = tokens(options.tokens, vocab_size=vocab, batch=options.batch, length=length + 1,
                  seed=seed)  # fmt: skip
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return torch.from_numpy(made).to(device)


def _setting(model: nn.Module, factory: Factory | None, name: str) -> int | None:
    """Look a field up among the factory's arguments, then in the model's configuration."""
    value = factory.value(name) if factory is not None else None
    if value is None:
        config = getattr(model, "config", None)
        known = Factory("", lambda: None, vars(config) if hasattr(config, "__dict__") else {})
        value = known.value(name)
    return value if isinstance(value, int) else None


def _tables(model: nn.Module) -> list[nn.Embedding]:
    return [module for module in model.modules() if isinstance(module, nn.Embedding)]


def _vocabulary(model: nn.Module, factory: Factory | None) -> int:
    """Return the number of token ids: said, or that of the first table of embeddings."""
    said = _setting(model, factory, "vocab_size")
    if said:
        return said
    if not _tables(model):
        raise UsageError(
            "the model has no table of embeddings, so its inputs are unknown: pass a batch "
            "(--batch-from module:function)"
        )
    return _tables(model)[0].num_embeddings


def _length(model: nn.Module, factory: Factory | None) -> int | None:
    """Return the longest sequence: said, or that of the table after the first."""
    said = _setting(model, factory, "block_size")
    tables = [table.num_embeddings for table in _tables(model)[1:]]
    return said or (min(tables) if tables else None)
