"""The models that everything here is measured on, and how they are named."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

    from initscope.config import GPTConfig

SHAPES = ((12, 768), (48, 768), (48, 1600), (96, 2048))
TOKENS = (256, 1024)
VOCABULARY = 50304


class Cell(NamedTuple):
    """A GPT's depth and width, and the tokens of one sequence."""

    n_layer: int
    n_embd: int
    tokens: int

    @classmethod
    def parse(cls, text: str) -> Cell:
        """Read ``48x768x256``.

        Raises:
            ValueError: for anything else.
        """
        numbers = [int(part) for part in text.replace("×", "x").split("x")]
        if len(numbers) != 3 or min(numbers) < 1:
            raise ValueError(text)
        return cls(*numbers)

    def __str__(self) -> str:
        return "x".join(map(str, self))

    def config(self, vocab_size: int = VOCABULARY) -> GPTConfig:
        """Return the model's shape, nanoGPT's in all else."""
        from initscope.config import GPTConfig

        shape: dict[str, Any] = {"n_layer": self.n_layer, "n_embd": self.n_embd}
        length = max(1024, self.tokens)
        return GPTConfig(**shape, vocab_size=vocab_size, block_size=length)


CELLS = tuple(Cell(*shape, tokens) for shape in SHAPES for tokens in TOKENS)


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """What a contestant is given: a shape, token ids (1, T + 1), and where to compute."""

    config: GPTConfig
    ids: torch.Tensor
    device: torch.device

    @classmethod
    def make(cls, cell: Cell, vocab_size: int = VOCABULARY, device: str = "cpu") -> Case:
        """Draw the same token ids for every contestant."""
        import torch

        from initscope.tokens import tokens

        drawn = tokens("zipf", vocab_size=vocab_size, batch=1, length=cell.tokens + 1)
        return cls(cell.config(vocab_size), torch.from_numpy(drawn), torch.device(device))


def cell_argument(text: str) -> Cell:
    """Read a cell from the command line."""
    try:
        return Cell.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a cell is LAYERSxWIDTHxTOKENS, such as 48x768x256, not {text!r}"
        ) from None


def run_arguments(parser: argparse.ArgumentParser, rounds: int = 3) -> None:
    """Add the options that every benchmark has: how often, on what, and within what."""
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=0, help="0 takes PyTorch's own number")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--memory", type=size, default=0, metavar="GIB",
                        help="what a child may hold; all that is available but 1 GiB")  # fmt: skip
    parser.add_argument("--json", action="store_true")


def size(text: str) -> int:
    """Read a size in GiB from the command line; return bytes."""
    try:
        return int(float(text) * 2**30)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a size is a number of GiB, not {text!r}") from None
