"""How to measure, whatever the rule and the shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from initscope.config import GPTConfig
from initscope.errors import UsageError

DTYPES = ("float32", "bfloat16", "float16")
DEFAULT_SEQ_LEN = 256

# When a check takes more seeds: until no interval straddles a bound and none is wider than this
# (half of an exponent's 95 % interval; on less a verdict is a guess), or there are this many.
PRECISION = 0.5
MAX_SEEDS = 8

# (what runs, blocks done, blocks in all) after each block.
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure, whatever the rule and the shape.

    Args:
        seeds: number of independent draws of weights and tokens.
        tokens: ``zipf``, ``uniform``, or a file (see :func:`initscope.tokens.tokens`).
        batch: sequences.
        seq_len: tokens in each; 0 takes 256, or the block size where that is smaller.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        dtype: ``float32``, ``bfloat16`` or ``float16``, of weights and activations.
        forward_only: whether to leave the gradients out.
        memory: bytes more to keep from forward to backward, instead of computing and drawing
            twice; for a user's model, the most that it may take in all (0: what is free).
        depth_law: whether to measure a half and a quarter of the depth too: one depth cannot
            tell a signal that is bounded from one that grows with depth.
        perturb_zeros: the std to draw matrices with that the rule sets to 0; 0 leaves them.
    """

    seeds: int = 1
    tokens: str = "zipf"
    batch: int = 1
    seq_len: int = 0
    device: str = "auto"
    dtype: str = "float32"
    forward_only: bool = False
    memory: int = 0
    depth_law: bool = True
    perturb_zeros: float = 0.0

    def depths(self, config: GPTConfig) -> list[int]:
        """Return the depths to measure, the one asked for last."""
        n = config.n_layer
        return sorted({n, *((n // 2, n // 4) if self.depth_law else ())} - {0})

    def length(self, config: GPTConfig) -> int:
        """Return the sequence length for a model.

        Raises:
            UsageError: if the model cannot take it.
        """
        length = self.seq_len or min(DEFAULT_SEQ_LEN, config.block_size)
        if config.positions == "learned" and length > config.block_size:
            raise UsageError(
                f"--seq-len {length} is beyond --block-size {config.block_size}, "
                "the length of the position table"
            )
        return length

    def __post_init__(self) -> None:
        """Refuse counts that cannot be."""
        for name in ("seeds", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be at least 1, not {getattr(self, name)}")
        for name in ("seq_len", "memory", "perturb_zeros"):
            if not getattr(self, name) >= 0:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} cannot be negative, as {getattr(self, name)} is")
