"""Train a small GPT and watch its signal: ``python examples/watch.py --jsonl run.jsonl``.

The loop is yours; two lines of it are initscope's. ``--rate 1`` shows what a run that breaks
looks like. Afterwards ``initscope show run.jsonl`` tells the run again.
"""

from __future__ import annotations

import argparse
from pydoc_data.topics import topics

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import initscope


class Block(nn.Module):
    """Pre-norm attention and MLP, as nanoGPT has them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        self.mlp_fc = nn.Linear(width, 4 * width, bias=False)
        self.mlp_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add both branches to the stream (B, T, C)."""
        split = self.c_attn(self.ln_1(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in split)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp_proj(F.gelu(self.mlp_fc(self.ln_2(x))))


class GPT(nn.Module):
    """A byte-level GPT that returns logits and loss."""

    def __init__(self, layers: int, width: int, block_size: int, heads: int = 4) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(256, width), nn.Embedding(block_size, width)
        self.h = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, 256, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                scale = (2 * layers) ** -0.5 if name.endswith("proj.weight") else 1.0
                nn.init.normal_(parameter, std=0.02 * scale)

    def forward(self, idx: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Read ids (B, T); return logits (B, T, 256) and the mean cross-entropy."""
        x = self.wte(idx) + self.wpe.weight[: idx.shape[1]]
        for block in self.h:
            x = block(x)
        logits = self.head(self.ln_f(x))
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def main() -> None:
    """Train and watch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--block-size", type=int, default=64)
    parser.add_argument("--jsonl", help="a file that keeps every profile")
    args = parser.parse_args()

    torch.manual_seed(0)
    text = torch.tensor(list("\n".join(topics[name] for name in sorted(topics)).encode()))
    model = GPT(args.layers, args.width, args.block_size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.1)

    with initscope.watch(model, every=args.every, steps=optimiser, jsonl=args.jsonl) as w:
        for step in range(args.steps):
            starts = torch.randint(len(text) - args.block_size, (16, 1))
            batch = text[starts + torch.arange(args.block_size + 1)]
            _, loss = model(batch[:, :-1], batch[:, 1:])
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            if step % args.every == 0:
                print(f"loss {loss.item():.2f}; {w.verdict.headline if w.verdict else ''}")


if __name__ == "__main__":
    main()
