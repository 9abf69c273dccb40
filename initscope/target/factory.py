"""What builds a user's model: its arguments, under whatever names they go."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from initscope.errors import MeasurementError, UsageError

# What others call a field of GPTConfig, the likeliest first.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "n_layer": ("n_layer", "num_hidden_layers", "n_layers", "num_layers", "depth", "layers",
                "num_blocks", "n_blocks"),
    "n_embd": ("n_embd", "hidden_size", "d_model", "dim", "width", "n_embed", "embed_dim",
               "emb_dim", "embedding_dim", "model_dim", "hidden_dim"),
    "n_head": ("n_head", "num_attention_heads", "n_heads", "num_heads", "heads"),
    "n_kv_head": ("n_kv_head", "num_key_value_heads", "n_kv_heads", "num_kv_heads"),
    "d_ff": ("d_ff", "intermediate_size", "ffn_dim", "n_inner", "ff_dim", "mlp_dim", "ffn_hidden"),
    "vocab_size": ("vocab_size", "n_vocab", "num_tokens", "vocab"),
    "block_size": ("block_size", "max_position_embeddings", "n_positions", "max_seq_len", "n_ctx",
                   "context_length", "max_seq_length", "max_len", "seq_len"),
}  # fmt: skip


@dataclass(frozen=True)
class Factory:
    """Builds a model from named arguments.

    Args:
        target: what the user typed.
        make: takes the arguments by name.
        defaults: the arguments it knows, with what they are where nothing is said (None where
            something must be).
        given: arguments from the user.
        depth_arg: the name of the one that says the depth; empty where there is none.
    """

    target: str
    make: Callable[..., Any]
    defaults: dict[str, Any]
    given: dict[str, Any] = field(default_factory=dict)
    depth_arg: str = ""

    def name_of(self, name: str) -> str:
        """Return what the factory calls a field of GPTConfig; empty if it has none."""
        if name == "n_layer" and self.depth_arg:
            return self.depth_arg
        return next((one for one in SYNONYMS.get(name, ()) if one in self.defaults), "")

    def value(self, name: str) -> Any:  # noqa: ANN401 - as the user has it
        """Return what a field of GPTConfig is, as far as the arguments say."""
        own = self.name_of(name)
        return self.given.get(own, self.defaults.get(own))

    def using(self, fields: dict[str, Any]) -> Factory:
        """Lay fields of GPTConfig over the arguments, by the names that the factory has.

        Raises:
            UsageError: for a field that no argument stands for.
        """
        for name in fields:
            if not self.name_of(name):
                flag = name.replace("_", "-")
                raise UsageError(
                    f"--{flag}: {self.target} has no argument for it; its arguments are "
                    f"{', '.join(self.defaults) or 'none'} (--model-arg NAME=VALUE sets one)"
                )
        named = {self.name_of(name): value for name, value in fields.items()}
        return dataclasses.replace(self, given={**self.given, **named})

    def supposing(self, arguments: Mapping[str, Any]) -> Factory:
        """Take what is not given from elsewhere; what it has no argument for is passed over."""
        known = {name: value for name, value in arguments.items() if name in self.defaults}
        return dataclasses.replace(self, given={**known, **self.given})

    def build(self) -> nn.Module:
        """Build the model.

        Raises:
            UsageError: where what was named is no model.
            MeasurementError: where the user's code fails.
        """
        try:
            model = self.make(**self.given)
        except Exception as error:
            if os.environ.get("INITSCOPE_DEBUG"):
                raise
            said = ", ".join(f"{name}={value!r}" for name, value in self.given.items())
            raise MeasurementError(
                f"{self.target} could not be built with ({said}): {type(error).__name__}: {error} "
                "(INITSCOPE_DEBUG=1 shows where)"
            ) from error
        if not isinstance(model, nn.Module):
            raise UsageError(f"{self.target} makes a {type(model).__name__}, not an nn.Module")
        return model
