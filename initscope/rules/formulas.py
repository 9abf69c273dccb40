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

_FAIRSEQ = {"embeddings": _BY_WIDTH, "blocks": _XAVIER_UNIFORM, "embed": "sqrt(n_embd)"}
_FUSED = f"{_XAVIER_UNIFORM}/sqrt(2)"  # q, k and v as one matrix
_NUMBER = "(layer+1)"  # of the block, from 1
_GAMMA = "sqrt(log(2*n_layer))"
_TORCHSCALE = {
    "embeddings": _BY_WIDTH,
    "q": _BY_FAN_IN,
    "k": _BY_FAN_IN,
    "embed": "sqrt(n_embd)",
}
_ADMIN = "sqrt((2*n_layer+1)/log(2*n_layer+1)-1)"
_OLMO_CORE = {"embeddings": "1", "head": _BY_WIDTH, "blocks": "0.02"}
_OUT_AND_UP = "0.02/sqrt(2*n_layer)"
_MINICPM = "1.4/sqrt(n_layer)"
_DSLM = {
    "embeddings": "1/sqrt(2)",
    "q": _BY_WIDTH,
    "k": _BY_WIDTH,
    "mlp": "1/sqrt(n_embd)/2**0.25",
    "mlp_down": "1/sqrt(n_embd)/2**0.25",
    "logits": "1/sqrt(0.3*n_embd)",
}
_ATTN, _MLP = "(n_layer+max(2*layer, 0))", "(n_layer+max(2*layer+1, 0))"
_MIX = "sqrt(log(256)/256)**(1-1/(1+4*head_size))"


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
    "bloom": {"matrices": _MT_NLG, "residual": f"{_MT_NLG}/sqrt(2*n_layer)"},
    "admin": {**_FAIRSEQ, "qkv": _FUSED, "skip": _ADMIN},
    "ds-init": {**_FAIRSEQ, "blocks": f"{_XAVIER_UNIFORM}/sqrt({_NUMBER})"},
    "ds-init-code": {
        **_FAIRSEQ,
        "blocks": f"{_XAVIER_UNIFORM}/{_NUMBER}**0.25",
        "qkv": f"{_FUSED}/{_NUMBER}**0.25",
    },
    "t-fixup": {
        **_FAIRSEQ,
        "embeddings": "1/sqrt(n_embd)/(9*n_layer)**0.25",
        "blocks": f"0.67*{_XAVIER_UNIFORM}/n_layer**0.25",
        "q": _FUSED,
        "k": _FUSED,
    },
    "fixup": {
        "embeddings": "0.02",
        "head": "0",
        "blocks": "sqrt(2/fan_in)/sqrt(2*n_layer)",
        "q": "sqrt(2/fan_in)",
        "k": "sqrt(2/fan_in)",
        "residual": "0",
    },
    "skipinit": {"embeddings": "0.02", "blocks": "sqrt(2/fan_in)", "branch": "0"},
    "hf-llama": {"matrices": "0.02"},
    "hf-gpt-neox": {"matrices": "0.02"},
    "hf-gptj": {"matrices": "0.02"},
    "hf-bloom": {"matrices": "0.02"},
    "hf-gemma": {"matrices": "0.02", "embed": "sqrt(n_embd)"},
    "gemma": {"matrices": "0.01", "embed": "sqrt(n_embd)"},
    "deepseek": {"matrices": "0.006"},
    "olmo2": {"matrices": "0.02"},
    "olmo-core-llama": {**_OLMO_CORE, "residual": _OUT_AND_UP, "mlp_up": _OUT_AND_UP},
    "olmo-core-llama-depth": {
        **_OLMO_CORE,
        "residual": "0.02/sqrt(2*(layer+1))",
        "mlp_up": "0.02/sqrt(2*(layer+1))",
    },
    "gptj": {
        "wte": "1/sqrt(vocab_size)",
        "wpe": "1/sqrt(vocab_size)",
        "matrices": _BY_FAN_IN,
        "residual": "2/(n_layer*sqrt(n_embd))",
    },
    "nanodo": {"embeddings": _BY_WIDTH, "blocks": _XAVIER_UNIFORM},
    "llm-foundry-baseline": {"matrices": "0.02", "residual": "0.02/sqrt(2*n_layer)"},
    "llm-foundry-small": {"matrices": _SMALL, "residual": f"{_SMALL}/sqrt(2*n_layer)"},
    "llm-foundry-neox": {"matrices": _SMALL, "residual": f"{_SMALL}*sqrt(10)/n_layer"},
    "mup-example": {
        "wte": "1",
        "wpe": "1",
        "matrices": _BY_WIDTH,
        "q": "0",
        "head": "0",
        "attention": "1/sqrt(head_size)",
        "logits": "256/n_embd",
    },
    "cerebras-mup": {
        **_MUP,
        "embeddings": "0.08",
        "blocks": "0.08*sqrt(256/n_embd)",
        "attn_out": "0.08*sqrt(256/n_embd)/sqrt(2*n_layer)",
        "mlp_down": "0.02*sqrt(1024/d_ff)/sqrt(2*n_layer)",
        "embed": "10",
    },
    "minicpm": {
        "embeddings": "0.1",
        "blocks": "0.1*sqrt(256/n_embd)",
        "embed": "12",
        "logits": "256/n_embd",
        "branch": _MINICPM,
    },
    "transformers-without-tears": {
        "embeddings": _BY_WIDTH,
        "blocks": _SMALL,
        "mlp": _XAVIER,
        "mlp_down": _XAVIER,
        "embed": "sqrt(n_embd)",
    },
    "modded-nanogpt": {
        "embeddings": "1",
        "head": "0",
        "blocks": "sqrt(3/fan_in)/2",
        "residual": "0",
        "attention": "0.12*sqrt(head_size)",
    },
    "nanochat-latest": {
        "embeddings": "0.8",
        "head": "0.001",
        "blocks": "sqrt(3/n_embd)",
        "mlp": "0.4*sqrt(3/n_embd)",
        "residual": "0",
        "attention": "1.2**2",
    },
    "sub-ln": {"embeddings": "0.02", "blocks": f"{_XAVIER}*{_GAMMA}", "q": _XAVIER, "k": _XAVIER},
    "sub-ln-torchscale": {**_TORCHSCALE, "blocks": f"{_BY_FAN_IN}*{_GAMMA}"},
    "deepnorm-torchscale": {
        **_TORCHSCALE,
        "blocks": f"{_BY_FAN_IN}/(8*n_layer)**0.25",
        "skip": "(2*n_layer)**0.25",
    },
    "deepscalelm": {**_DSLM, "skip": "sqrt(0.995)", "branch": "sqrt(0.005)"},
    "deepscalelm-sigma": _DSLM,
    "u-mup": {
        "embeddings": "1",
        "head": "1/fan_in",
        "blocks": _BY_FAN_IN,
        "attention": "1/sqrt(head_size)",
        "skip_attn": f"1/sqrt(1+1/{_ATTN})",
        "skip_mlp": f"1/sqrt(1+1/{_MLP})",
        "branch_attn": f"1/sqrt(1+{_ATTN})/{_MIX}",
        "branch_mlp": f"2**0.75/sqrt(1+{_MLP})",
    },
    "folklore-times-0.02": {"matrices": "0.02", "residual": "0.02*0.02"},
    "folklore-sqrt-2-over-l": {"matrices": "0.02", "residual": "0.02*sqrt(2/n_layer)"},
    "folklore-1-over-sqrt-l": {"matrices": "0.02", "residual": "0.02/sqrt(n_layer)"},
    "folklore-ffn": {**_GPT2, "mlp": "0.02/sqrt(n_embd)", "mlp_down": "0.02/sqrt(n_embd)"},
}
