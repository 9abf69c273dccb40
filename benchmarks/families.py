"""``python -m benchmarks.families``: the verdict of each model family under its own initialisation.

Models of the transformers library, built from small configurations without a network.
"""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from initscope.decide import settle
from initscope.judging import judge
from initscope.options import Options
from initscope.own import Subject
from initscope.profile import Profile
from initscope.target import Factory
from initscope.verdict import Verdict

_GPT = {"n_layer": 2, "n_embd": 32, "n_head": 4}
_BASE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}
_GROUPED = {
    **_BASE, "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64,
}  # fmt: skip
_HEAD = {"head_dim": 8}
_IDS = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 1)
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {**_GPT, "n_positions": 64},
    "gpt_neox": {**_BASE, "intermediate_size": 64},
    "gptj": {**_GPT, "n_positions": 64, "rotary_dim": 4},
    "opt": {**_BASE, "ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 64},
    "bloom": {"n_layer": 2, "hidden_size": 32, "n_head": 4},
    "llama": _GROUPED,
    "mistral": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, **_HEAD},
    "gemma": {**_GROUPED, **_HEAD},
    "gemma2": {**_GROUPED, **_HEAD},
    "phi": _GROUPED,
    "phi3": _GROUPED,
    "olmo": _GROUPED,
    "olmo2": _GROUPED,
    "falcon": _BASE,
    "granite": {**_GROUPED, "residual_multiplier": 0.3},
    "mixtral": {**_GROUPED, "num_local_experts": 2},
    "mamba": {"num_hidden_layers": 2, "hidden_size": 32, "state_size": 4},
}


def build(name: str, **fields: Any) -> nn.Module:  # noqa: ANN401 - a configuration's own
    """Build a small model of a family."""
    import transformers

    transformers.logging.set_verbosity_error()
    given = {"vocab_size": 97, **_IDS, **SHAPES[name], **fields}
    config = transformers.AutoConfig.for_model(name, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.AutoModelForCausalLM.from_config(config).eval()


def factory(name: str, depth: int) -> Factory:
    """Return what builds a family at any depth.

    No id is padding, whose embedding is a row of zeros: a sequence that begins with it stays
    exactly 0 in a model without biases, and the norms' eps alone scales its gradient.
    """
    (argument,) = {"n_layer", "num_hidden_layers"} & SHAPES[name].keys()
    return Factory(
        name,
        lambda **given: build(name, pad_token_id=None, **given),
        {argument: depth},
        {},
        argument,
    )


def verdict(name: str, depth: int, max_seeds: int) -> Verdict:
    """Measure a family at a depth, its half and its quarter, with as many seeds as it takes."""
    options = Options(seq_len=64, batch=4, seeds=2)
    subject = Subject(factory=factory(name, depth))

    def more(profile: Profile, seeds: int) -> Profile:
        return subject.extend(profile, options, seeds)

    found = settle(subject.inspect(options), more, judge, max_seeds=max_seeds)
    return found.verdict


def cell(found: Verdict) -> dict[str, Any]:
    """Return a verdict's classes, exponents and traits."""
    values = {finding.name: finding.value for finding in found.findings}
    return {
        "forward": found.forward, "backward": found.backward,
        "depth_exponent": values["depth-exponent"],
        "gradient_exponent": values["gradient-exponent"],
        "traits": list(found.traits), "seeds": found.seeds,
    }  # fmt: skip


def text(one: dict[str, Any]) -> str:
    """Write a cell of the table."""
    sides = (("forward", "depth_exponent"), ("backward", "gradient_exponent"))
    lines = [
        one[side] + (f" ({one[power]:+.2f})" if one[power] is not None else "")
        for side, power in sides
    ]  # fmt: skip
    return "\n".join(lines + one["traits"])


def main() -> None:
    """Print a row a family, a column a depth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--families", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--max-seeds", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    console = Console(stderr=True)
    cells = {
        name: {depth: cell(verdict(name, depth, args.max_seeds)) for depth in args.depths}
        for name in track(args.families, "families", console=console)
    }
    if args.json:
        print(json.dumps(cells, indent=2))
        return
    shown = Table("family", *(f"{depth} layers" for depth in args.depths),
                  title="forward, backward (power of the depth)")  # fmt: skip
    for name, row in cells.items():
        shown.add_row(name, *(text(row[depth]) for depth in args.depths))
        shown.add_section()
    Console().print(shown)


if __name__ == "__main__":
    main()
