"""What PyTorch knows of the pass that is running, and has no public name for."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def in_backward() -> bool:
    """Whether a backward pass is running: what a checkpointed block recomputes is no reading."""
    return torch._C._current_graph_task_id() != -1  # noqa: SLF001 - as torch.utils.checkpoint asks


def unwatched() -> AbstractContextManager[None]:
    """Keep what a reduction computes from whoever follows the model's own operations."""
    return torch._C.DisableTorchFunction()  # noqa: SLF001 - no public way past a mode
