"""Train a small GPT with and without learning-rate warmup: ``python examples/warmup.py``.

The recipe is nanoGPT's for a CPU (its README and config/train_shakespeare_char.py): AdamW with
betas 0.9 and 0.99, weight decay 0.1, gradients clipped to norm 1, cosine decay to a tenth. Its
own learning rate is 1e-3; the others say where warmup begins to matter. The text is Python's
reference manual as ``help()`` has it, its bytes the tokens, the last tenth for validation. With
and without warmup a seed has the same weights and batches, so that their difference is paired.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pydoc_data.topics import topics

import torch
from torch import Tensor

from initscope import GPTConfig, build
from initscope.gpt import GPT

VOCABULARY = 256  # one token a byte


@dataclass(frozen=True)
class Outcome:
    """A finished run: the worst training loss, and the validation loss at the end (nat)."""

    worst: float
    final: float


def corpus() -> tuple[Tensor, Tensor]:
    """Return the text as token ids: what to train on, and the last tenth to validate on."""
    text = "\n".join(topics[name] for name in sorted(topics)).encode()
    ids = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    kept = 9 * len(ids) // 10
    return ids[:kept], ids[kept:]


def entropy(ids: Tensor) -> float:
    """Return the entropy of the bytes' frequencies: the loss of a model that reads nothing."""
    share = torch.bincount(ids, minlength=VOCABULARY).double() / len(ids)
    return float(torch.special.entr(share).sum())


def batch(ids: Tensor, args: argparse.Namespace, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draw random windows: inputs (B, T), and the bytes that follow them."""
    starts = torch.randint(len(ids) - args.block_size, (args.batch,), generator=generator)
    windows = ids[starts[:, None] + torch.arange(args.block_size + 1)]
    return windows[:, :-1], windows[:, 1:]


def loss_of(model: GPT, windows: tuple[Tensor, ...]) -> Tensor:
    """Return the mean cross-entropy, in nat a byte."""
    loss = model(*windows)[1]
    assert loss is not None
    return loss


def schedule(step: int, steps: int, warmup: int) -> float:
    """Return the learning rate's factor: a linear rise, then a cosine down to a tenth."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def optimiser(model: GPT, rate: float) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and embeddings, and nothing else."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99))


@torch.no_grad()
def validate(model: GPT, ids: Tensor, args: argparse.Namespace) -> float:
    """Return the loss on windows of the text held back, the same for every model."""
    generator = torch.Generator().manual_seed(0)
    losses = [loss_of(model, batch(ids, args, generator)) for _ in range(args.validation)]
    return float(torch.stack(losses).mean())


def train(rate: float, warmup: int, seed: int, args: argparse.Namespace) -> Outcome:
    """Train one model; a loss that is no number ends the run."""
    text, held_back = corpus()
    config = GPTConfig(
        n_layer=args.n_layer, n_head=args.n_head, n_embd=args.n_embd,
        block_size=args.block_size, vocab_size=VOCABULARY,
    )  # fmt: skip
    model, generator = build(config, args.rule, seed), torch.Generator().manual_seed(seed)
    steps, worst = optimiser(model, rate), 0.0
    for step in range(args.steps):
        for group in steps.param_groups:
            group["lr"] = rate * schedule(step, args.steps, warmup)
        loss = loss_of(model, batch(text, args, generator))
        if not math.isfinite(loss.item()):
            return Outcome(math.inf, math.inf)
        worst = max(worst, loss.item())
        steps.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.step()
    return Outcome(worst, validate(model, held_back, args))


def spread(values: list[float]) -> str:
    """Write the mean of one number a seed, and its standard error where there are several."""
    samples = torch.tensor(values, dtype=torch.float64)
    if len(values) == 1:
        return f"{samples.item():.3f}"
    return f"{samples.mean():.3f} ± {samples.std() / math.sqrt(len(values)):.3f}"


def row(rate: float, warm: list[Outcome], cold: list[Outcome], limit: float) -> str:
    """Write a learning rate's line; each pair of columns is with warmup, then without."""
    both = (warm, cold)
    finals = [[outcome.final for outcome in outcomes] for outcomes in both]
    differences = [without - with_ for with_, without in zip(*finals, strict=True)]
    worst = [max(outcome.worst for outcome in outcomes) for outcomes in both]
    lost = [sum(not final < limit for final in values) for values in finals]
    cells = [f"{spread(values):<14}" for values in (*finals, differences)]
    return f"{rate:<7g} {' '.join(cells)} {worst[0]:5.2f} {worst[1]:5.2f}  {lost[0]:4} {lost[1]:4}"


def arguments() -> argparse.Namespace:
    """Read the command line; what it leaves out is nanoGPT's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 3e-3, 1e-2])
    parser.add_argument("--warmup", type=int, default=30, help="steps")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rule", default="nanogpt")
    parser.add_argument("--n-layer", type=int, default=4)
    parser.add_argument("--n-embd", type=int, default=128)
    parser.add_argument("--n-head", type=int, default=4)
    parser.add_argument("--block-size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--validation", type=int, default=40, help="batches")
    return parser.parse_args()


def main() -> None:
    """Train every combination and print a line a learning rate, with warmup and without."""
    args = arguments()
    limit = entropy(corpus()[1])
    print(
        f"{args.rule}: {args.n_layer} layers, width {args.n_embd}, {args.steps} steps of "
        f"{args.batch} x {args.block_size} bytes, {args.seeds} seeds\n"
        f"warmup over {args.warmup} steps; loss in nat a byte; lost: runs that end no better than\n"
        f"the bytes' frequencies, {limit:.2f}\n\n"
        "        validation loss               difference     worst loss       lost\n"
        "rate    warmup         none           none − warmup  warmup none  warmup none"
    )
    for rate in args.rates:
        warm, cold = (
            [train(rate, warmup, seed, args) for seed in range(args.seeds)]
            for warmup in (args.warmup, 0)
        )
        print(row(rate, warm, cold, limit), flush=True)


if __name__ == "__main__":
    main()
