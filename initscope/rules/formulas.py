"""The catalogue's formulas as text, in the notation of one's own rules.

Each entry says what sizes the draw: the standard deviation of a normal (before truncation), the
bound of a uniform, the gain of an orthogonal matrix; or a factor. Where several keys name a
parameter the narrowest counts. A text is shown only where its number is the rule's.
"""

from __future__ import annotations

from collections.abc import Mapping

_GPT2 = {"matrices": "0.02", "residual": "0.02/sqrt(2*n_layer)"}
_SMALL = "sqrt(2/(5*n_embd))"
_MT_NLG = "sqrt(1/(3*n_embd))"
_SPECTRAL = "sqrt(min(1, fan_out/fan_in)/fan_in)"
_XAVIER = "sqrt(2/(fan_in+fan_out))"
_XAVIER_UNIFORM = "sqrt(6/(fan_in+fan_out))"
_BY_FAN_IN = "1/sqrt(fan_in)"
_BY_WIDTH = "1/sqrt(n_embd)"
_DEEPNORM = f"{_XAVIER}/(8*n_layer)**0.25"
_MUP = {
    "embeddings": "0.02",
    "blocks": "0.02*sqrt(256/n_embd)",
    "attention": "1/sqrt(head_size)",
    "logits": "256/n_embd",
}


def _blocks(formula: str) -> dict[str, str]:
    """Return the formulas of a rule that leaves embeddings and head to nanoGPT."""
    return {"embeddings": "0.02", "blocks": formula}


FORMULAS: dict[str, Mapping[str, str]] = {
    "nanogpt": _GPT2,
    "nanogpt-flat": {"matrices": "0.02"},
    "gpt2": {"matrices": "0.02", "wpe": "0.02/2"},
    "mingpt": _GPT2,
    "megatron": _GPT2,
    "opt": {"matrices": "0.006", "residual": "0.006/sqrt(2*n_layer)"},
    "mt-nlg": {"matrices": _MT_NLG, "residual": f"{_MT_NLG}/sqrt(2*n_layer)"},
    "cerebras": _GPT2,
    "xavier": _blocks(_XAVIER),
    "xavier-uniform": _blocks(_XAVIER_UNIFORM),
    "kaiming": _blocks("sqrt(2/fan_in)"),
    "lecun": _blocks("sqrt(1/fan_in)"),
    "orthogonal": _blocks("1"),
    "spectral": _blocks(_SPECTRAL),
    "torch": {"matrices": _BY_FAN_IN, "bias": _BY_FAN_IN, "wte": "1", "wpe": "1"},
    "small-init": {"matrices": _SMALL},
    "neox": {"matrices": _SMALL, "residual": "2/(n_layer*sqrt(n_embd))"},
    "tinyllama": {"matrices": _SMALL, "residual": "1/(n_layer*sqrt(n_embd))"},
    "torchtitan-llama3": {
        "embeddings": "1",
        "head": _BY_WIDTH,
        "blocks": "0.02",
        "residual": "0.02/sqrt(2*(layer+1))",
        "mlp_up": "0.02/sqrt(2*(layer+1))",
    },
    "olmo-normal": {"matrices": "0.02"},
    "olmo-mitchell": {"matrices": _BY_FAN_IN, "residual": "1/sqrt(2*(layer+1)*fan_in)"},
    "olmo-megatron": {**_GPT2, "head": _BY_WIDTH},
    "olmo-fan-in": {"matrices": _BY_FAN_IN, "wte": "1", "wpe": "1"},
    "palm": {"embeddings": "1", "blocks": _BY_FAN_IN, "logits": _BY_WIDTH},
    "t5": {
        "embeddings": "1",
        "blocks": _BY_FAN_IN,
        "q": "1/sqrt(fan_in*head_size)",
        "attention": "sqrt(head_size)",
        "logits": _BY_WIDTH,
    },
    "llm-foundry": {"matrices": "sqrt(2/fan_in)", "residual": "sqrt(2/fan_in)/sqrt(2*n_layer)"},
    "deepnorm": {
        **_blocks(_DEEPNORM),
        "q": _XAVIER,
        "k": _XAVIER,
        "skip": "(2*n_layer)**0.25",
    },
    "layerscale": {"matrices": "0.02", "branch": "0.0001"},
    "rezero": {
        **_blocks(_BY_FAN_IN),
        "qkv": "sqrt(6/(4*n_embd))",
        "bias": _BY_FAN_IN,
        "branch": "0",
    },
    "zero-projections": {"matrices": "0.02", "residual": "0"},
    "nanochat": {"embeddings": "1", "head": "0", "blocks": _SPECTRAL, "residual": "0"},
    "mup": {**_MUP, "residual": "0.02*sqrt(256/n_embd)/sqrt(2*n_layer)"},
    "completep": {**_MUP, "branch": "2/n_layer"},
    "depth-mup": {**_MUP, "branch": "1/sqrt(n_layer)"},
    "folklore-times-0.02": {"matrices": "0.02", "residual": "0.02*0.02"},
    "folklore-sqrt-2-over-l": {"matrices": "0.02", "residual": "0.02*sqrt(2/n_layer)"},
    "folklore-1-over-sqrt-l": {"matrices": "0.02", "residual": "0.02/sqrt(n_layer)"},
    "folklore-ffn": {**_GPT2, "mlp": "0.02/sqrt(n_embd)", "mlp_down": "0.02/sqrt(n_embd)"},
}
