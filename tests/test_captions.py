"""What a model is, in words: the architectures beside GPT-2's."""

from __future__ import annotations

from typing import Any

import synthetic
from initscope import captions
from initscope.config import GPTConfig


def test_facts_of_other_architectures() -> None:
    def facts(**fields: Any) -> list[str]:
        config = GPTConfig(n_layer=1, n_embd=128, **fields)
        return captions.facts(synthetic.profile(config=config))

    parallel = facts(branches="parallel", positions="rope", rope_share=0.25)
    assert {"parallel branches", "rope on 25% of each head"} <= set(parallel)
    bloom = facts(embed_norm=True, inner_norm=True, positions="alibi", norm="output")
    assert {"output-norm (layernorm)", "embedding norm", "inner norms", "alibi"} <= set(bloom)
    shared = facts(branches="shared", positions="sinusoidal")
    assert {"parallel branches after one norm", "sinusoidal positions"} <= set(shared)
    assert not any("branches" in fact or "embedding" in fact for fact in facts())
    assert "no positions" in facts(positions="none")
