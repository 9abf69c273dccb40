"""The claims: what is told, what the code does, a command to see it with, how it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from initscope.folklore import measured
from initscope.folklore.bench import SEEDS, SHAPE, Bench
from initscope.folklore.measured import Measure, Truth
from initscope.options import Report


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Something that is told of nanoGPT's initialisation.

    Args:
        text: the claim, in a sentence.
        code: what nanoGPT's code does instead, or does indeed, and where.
        command: a command that shows it.
        measure: what decides whether it is true.
    """

    text: str
    code: str
    command: str
    measure: Measure


class Row(NamedTuple):
    """A claim with its answer."""

    claim: Claim
    truth: Truth
    measured: str

    def to_dict(self) -> dict[str, str]:
        """Return it by name, ready for JSON."""
        return {
            "claim": self.claim.text, "verdict": str(self.truth), "code": self.claim.code,
            "measured": self.measured, "command": self.claim.command,
        }  # fmt: skip


_SHAPE = f"--n-layer {SHAPE['n_layer']} --n-embd {SHAPE['n_embd']}"


def _inspect(options: str) -> str:
    return f"initscope inspect --rule nanogpt {_SHAPE} {options}"


def _compare(*rules: str) -> str:
    return f"initscope compare {' '.join(rules)} {_SHAPE}"


_DRAWN_ANEW = (
    "`c_proj` of attention and MLP is drawn anew from N(0, 0.02/√(2·n_layer)) (`GPT.__init__`); "
)

CLAIMS = (
    Claim(
        text="The residual projections are multiplied by 0.02.",
        code=f"{_DRAWN_ANEW}nothing multiplies a weight",
        command=_compare("nanogpt", "folklore-times-0.02"),
        measure=measured.residual_as("folklore-times-0.02"),
    ),
    Claim(
        text="The residual projections are multiplied by √(2/n_layer).",
        code=f"{_DRAWN_ANEW}that factor is the gain of GPT-NeoX's `scaled_orthogonal`",
        command=_compare("nanogpt", "folklore-sqrt-2-over-l"),
        measure=measured.residual_as("folklore-sqrt-2-over-l"),
    ),
    Claim(
        text="The residual projections are multiplied by 1/√n_layer.",
        code=f"{_DRAWN_ANEW}it counts the two branches of a block, not the blocks",
        command=_compare("nanogpt", "folklore-1-over-sqrt-l"),
        measure=measured.residual_as("folklore-1-over-sqrt-l"),
    ),
    Claim(
        text="The residual projections have a std of 0.02/√(2·n_layer).",
        code="`torch.nn.init.normal_(p, mean=0.0, std=0.02/math.sqrt(2 * config.n_layer))` for "
        "each name that ends in `c_proj.weight` (`GPT.__init__`)",
        command=_compare("nanogpt", "nanogpt-flat"),
        measure=measured.residual_scaled,
    ),
    Claim(
        text="The MLP's linear layers have a std of 0.02/√n_embd.",
        code="`c_fc` is N(0, 0.02) as every Linear (`GPT._init_weights`), the MLP's `c_proj` as "
        "above; the width appears nowhere, and PyTorch's own draw (`torch`) is overwritten",
        command=_compare("nanogpt", "folklore-ffn", "torch"),
        measure=measured.narrow_mlp,
    ),
    Claim(
        text="Token and position embeddings are N(0, 0.02).",
        code="`nn.Embedding` gets `normal_(mean=0.0, std=0.02)` (`GPT._init_weights`)",
        command=_compare("nanogpt", "gpt2"),
        measure=measured.embeddings,
    ),
    Claim(
        text="The head is tied to the token embedding.",
        code="`self.transformer.wte.weight = self.lm_head.weight` (`GPT.__init__`)",
        command=_compare("nanogpt", "mingpt"),
        measure=measured.tied_head,
    ),
    Claim(
        text="Norms start with a gain of 1 and a bias of 0.",
        code="`torch.ones` and `torch.zeros` (`LayerNorm.__init__`); with `bias=False` there is "
        "no bias at all",
        command=_inspect("--bias"),
        measure=measured.norms,
    ),
    Claim(
        text="The linear layers have no bias.",
        code="one flag `bias` is for linear layers and norms together: `True` by default "
        "(`GPTConfig`), `False` in train.py; the head never has one",
        command=_inspect("--bias"),
        measure=measured.linear_biases,
    ),
    Claim(
        text="The activation is GELU, not ReLU.",
        code="`nn.GELU()`, the exact form (`MLP.__init__`); GPT-2 has the tanh form, Llama SwiGLU",
        command=_inspect("--activation relu"),
        measure=measured.gelu,
    ),
    Claim(
        text="The variance of the residual stream does not grow with depth.",
        code="each of 2·n_layer branches adds about 1/(2·n_layer) of what it would add unscaled",
        command=_compare("nanogpt", "nanogpt-flat"),
        measure=measured.no_growth,
    ),
    Claim(
        text="`if 'cproj' in name` finds the residual projections.",
        code="`if pn.endswith('c_proj.weight')` (`GPT.__init__`); with `cproj` no name would fit, "
        "and no error say so",
        command=_compare("nanogpt", "nanogpt-flat"),
        measure=measured.misspelt_name,
    ),
    Claim(
        text="It trains without learning-rate warmup in small settings.",
        code="train.py warms up over 2000 steps, config/train_shakespeare_char.py over 100, with "
        "the remark `not super necessary potentially`",
        command="python examples/warmup.py",
        measure=measured.warmup,
    ),
)


def folklore_report(seeds: int = SEEDS, *, report: Report | None = None) -> list[Row]:
    """Measure every claim; what two of them need is measured once.

    It takes half a minute on one core; one seed a third of it. ``report`` is called with (what
    runs, claims done, claims in all) after each.
    """
    bench, rows = Bench(seeds), []
    for number, claim in enumerate(CLAIMS, start=1):
        rows.append(Row(claim, *claim.measure(bench)))
        if report is not None:
            report("claims", number, len(CLAIMS))
    return rows
