"""The shape of a GPT: free of torch, so that theory and saved profiles can use it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from initscope.errors import UsageError, unknown

Norm = Literal["pre", "post", "sandwich", "output", "none"]
NormKind = Literal["layernorm", "rmsnorm"]
Activation = Literal["gelu", "gelu_tanh", "relu", "relu2", "silu", "swiglu", "geglu"]
Positions = Literal["learned", "rope", "sinusoidal", "alibi", "none"]
Branches = Literal["sequential", "parallel", "shared"]

GATED: frozenset[str] = frozenset({"swiglu", "geglu"})

_CHOICES: dict[str, tuple[str, ...]] = {
    "norm": get_args(Norm),
    "norm_kind": get_args(NormKind),
    "activation": get_args(Activation),
    "positions": get_args(Positions),
    "branches": get_args(Branches),
}
LARGEST = 10**7  # no model is near it, and no table of that width fits a machine


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """A decoder-only transformer; depth alone is enough, the rest follows.

    Args:
        n_layer: number of blocks; each adds an attention and an MLP branch to the stream.
        n_embd: width of the residual stream.
        n_head: attention heads; 0 derives ``n_embd / 64`` (at least 1).
        n_kv_head: key/value heads (grouped-query attention); 0 means ``n_head``.
        d_ff: MLP hidden width; 0 derives ``4 n_embd``, or ``8/3 n_embd`` rounded up to a
            multiple of 64 when the activation is gated (equal parameter count, Shazeer 2020).
        vocab_size: number of token ids (50304 = GPT-2's 50257 padded to a multiple of 64).
        block_size: longest sequence; the length of the learned position table.
        norm: ``pre`` x + f(N(x)) · ``post`` N(x + f(x)) · ``sandwich`` x + N(f(N(x))) ·
            ``output`` x + N(f(x)) · ``none`` x + f(x). All but ``post`` and ``none`` end in a
            final norm.
        norm_kind: ``layernorm`` or ``rmsnorm``.
        activation: the MLP's non-linearity; ``gelu`` is the exact (erf) form.
        positions: ``learned`` table added to the embedding, ``rope`` rotation, ``sinusoidal``
            waves added to it (Vaswani et al. 2017), ``alibi`` penalty on attention's distance
            (Press et al. 2022), or ``none``.
        bias: whether the linear layers and LayerNorms have a bias (the head never has).
        tied: whether the output head is the token embedding.
        qk_norm: RMS-normalise each head's query and key.
        rope_theta: base of the rotary frequencies.
        norm_eps: added to the variance inside every norm.
        branches: ``sequential`` or, both branches reading what enters the block, ``parallel``
            with a norm each (GPT-NeoX) and ``shared`` after one norm (GPT-J, PaLM).
        embed_norm: whether the embedding is normalised before the first block (BLOOM).
        inner_norm: whether attention's mix and the MLP's hidden layer are normalised before
            their output projections (Sub-LN).
        rope_share: share of each head that is rotated; the rest knows no positions.

    Raises:
        UsageError: for a value that no GPT can have.
    """

    n_layer: int
    n_embd: int = 768
    n_head: int = 0
    n_kv_head: int = 0
    d_ff: int = 0
    vocab_size: int = 50304
    block_size: int = 1024
    norm: Norm = "pre"
    norm_kind: NormKind = "layernorm"
    activation: Activation = "gelu"
    positions: Positions = "learned"
    bias: bool = False
    tied: bool = True
    qk_norm: bool = False
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    branches: Branches = "sequential"
    embed_norm: bool = False
    inner_norm: bool = False
    rope_share: float = 1.0

    def __post_init__(self) -> None:
        """Derive what was left at 0, then refuse what cannot be built."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown(name.replace("_", " "), str(getattr(self, name)), choices)
        self._require_counts("n_layer", "n_embd", "vocab_size", "block_size")
        for name, value in self._derived().items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        self._require_counts("n_head", "n_kv_head", "d_ff")
        self._require_fit()

    def _derived(self) -> dict[str, int]:
        n_head = self.n_head or default_heads(self.n_embd)
        d_ff = -(-8 * self.n_embd // (3 * 64)) * 64 if self.gated else 4 * self.n_embd
        return {"n_head": n_head, "n_kv_head": n_head, "d_ff": d_ff}

    def _require_counts(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= LARGEST:
                raise UsageError(
                    f"{name} must be a whole number from 1 to {LARGEST}, not {value!r}"
                )

    def _require_fit(self) -> None:
        if self.n_embd % self.n_head:
            raise UsageError(
                f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}; "
                f"{default_heads(self.n_embd)} heads would divide it"
            )
        if self.n_head % self.n_kv_head:
            raise UsageError(
                f"n_head {self.n_head} is not a multiple of n_kv_head {self.n_kv_head}"
            )
        if self.positions == "rope" and self.head_size % 2:
            raise UsageError(f"rope rotates pairs, but the head size {self.head_size} is odd")
        if not 0 < self.rope_share <= 1:
            raise UsageError(f"rope_share must be above 0 and at most 1, not {self.rope_share!r}")
        fitting = {"parallel": self.norm != "post", "shared": self.norms_input}
        if not fitting.get(self.branches, True):
            raise UsageError(
                f"{self.branches} branches do not go with norm {self.norm}: both read the stream "
                "as it enters the block; choose norm pre, or branches sequential"
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    @property
    def kv_width(self) -> int:
        """Width of the keys and of the values, all heads together."""
        return self.head_size * self.n_kv_head

    @property
    def gated(self) -> bool:
        """Whether the MLP multiplies its hidden layer by a gate (SwiGLU, GEGLU)."""
        return self.activation in GATED

    @property
    def final_norm(self) -> bool:
        """Whether the stream is normalised once more before the head."""
        return self.norm in {"pre", "sandwich", "output"}

    @property
    def norms_input(self) -> bool:
        """Whether a branch reads a norm of the stream."""
        return self.norm in {"pre", "sandwich"}

    @property
    def norms_output(self) -> bool:
        """Whether what a branch adds has just been normalised."""
        return self.norm in {"sandwich", "output"}

    @property
    def block_norms(self) -> frozenset[str]:
        """The norms that a block has, named as their modules."""
        names: set[str] = set()
        if self.norms_input or self.norm == "post":
            names |= {"norm_1"} if self.branches == "shared" else {"norm_1", "norm_2"}
        if self.norms_output:
            names |= {"norm_1_out", "norm_2_out"}
        if self.inner_norm:
            names |= {"norm_attn", "norm_mlp"}
        return frozenset(names)

    @property
    def rotated(self) -> int:
        """How many features of each head are rotated: pairs, at least one."""
        return max(2, 2 * round(self.rope_share * self.head_size / 2))

    def at_depth(self, n_layer: int) -> GPTConfig:
        """Return the same model with another number of blocks."""
        return dataclasses.replace(self, n_layer=n_layer)

    def to_dict(self) -> dict[str, Any]:
        """Return every field by name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> GPTConfig:
        """Build a configuration from saved fields; an unknown one is an error."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                raise unknown("configuration field", name, known)
        return cls(**fields)


def default_heads(n_embd: int) -> int:
    """Return the head count nearest to a head size of 64 that divides the width."""
    target = max(1, round(n_embd / 64))
    return min(_divisors(n_embd), key=lambda heads: (abs(heads - target), heads))


def _divisors(number: int) -> set[int]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return {*small, *(number // n for n in small)}


_LLAMA = {
    "norm_kind": "rmsnorm",
    "activation": "swiglu",
    "positions": "rope",
    "tied": False,
}
_GPT = {"activation": "gelu_tanh", "bias": True, "vocab_size": 50257}
_LLAMA3 = {**_LLAMA, "vocab_size": 128256, "block_size": 8192, "rope_theta": 500_000.0}

# Shapes: GPT-2 and GPT-3 from Radford et al. 2019 and Brown et al. 2020 (table 2.1),
# Llama from Touvron et al. 2023 and Grattafiori et al. 2024 (table 3).
PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 12, "n_embd": 768, "n_head": 12, **_GPT},
    "gpt2-medium": {"n_layer": 24, "n_embd": 1024, "n_head": 16, **_GPT},
    "gpt2-large": {"n_layer": 36, "n_embd": 1280, "n_head": 20, **_GPT},
    "gpt2-xl": {"n_layer": 48, "n_embd": 1600, "n_head": 25, **_GPT},
    "gpt3-13b": {"n_layer": 40, "n_embd": 5120, "n_head": 40, "block_size": 2048, **_GPT},
    "gpt3-175b": {"n_layer": 96, "n_embd": 12288, "n_head": 96, "block_size": 2048, **_GPT},
    "llama2-7b": {
        "n_layer": 32, "n_embd": 4096, "n_head": 32, "d_ff": 11008,
        "vocab_size": 32000, "block_size": 4096, **_LLAMA,
    },
    "llama3-8b": {
        "n_layer": 32, "n_embd": 4096, "n_head": 32, "n_kv_head": 8, "d_ff": 14336, **_LLAMA3,
    },
    "llama3-70b": {
        "n_layer": 80, "n_embd": 8192, "n_head": 64, "n_kv_head": 8, "d_ff": 28672, **_LLAMA3,
    },
}  # fmt: skip


def preset(name: str) -> dict[str, Any]:
    """Return the fields of a published model.

    Raises:
        UsageError: for a name that is not a preset.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return dict(PRESETS[name])
