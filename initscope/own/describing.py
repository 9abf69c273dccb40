"""What was measured, on what: the nearest configuration to a model, and how it was run."""

from __future__ import annotations

from initscope import sweep
from initscope.anatomy import Anatomy
from initscope.anatomy.shape import shape
from initscope.config import GPTConfig
from initscope.options import Options
from initscope.profile import Run
from initscope.resident import Feed
from initscope.tokens import describe


def describe_model(anatomy: Anatomy, given: Feed, vocab: int = 0) -> GPTConfig:
    """Return the nearest configuration; ``vocab`` is the width of the logits, if there are any."""
    if not vocab and anatomy.wte is not None:
        vocab = getattr(anatomy.wte[1], "num_embeddings", 0)
    length = given.ids.shape[1] if given.ids is not None else 1
    return shape(anatomy, vocab_size=vocab or 1, seq_len=length)


def describe_run(options: Options, anatomy: Anatomy, given: Feed, target: str) -> Run:
    """Say how the readings were taken, of one seed."""
    parameters = anatomy.parameters
    batch, length = given.ids.shape if given.ids is not None else (0, 0)
    first = parameters[0].parameter
    return Run(
        source="resident", device=str(first.device), dtype=str(first.dtype).removeprefix("torch."),
        tokens=describe(options.tokens, batch, length), batch=batch, seq_len=length, seeds=(0,),
        versions=sweep.versions(), model=target,
        parameters=sum(one.parameter.numel() for one in parameters),
    )  # fmt: skip
