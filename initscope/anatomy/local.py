"""What this process holds of a tensor that is distributed over several."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_distributed(x: object) -> bool:
    """Whether it is a ``DTensor``; torch.distributed.tensor, slow to load, is left unloaded."""
    return hasattr(x, "to_local") and hasattr(x, "placements")


def local(x: Tensor) -> Tensor:
    """Return the part of a tensor that lies here; sums that are still to be made are made.

    A plain tensor is returned as it is. Sums are made by all the processes of its mesh.
    """
    if not is_distributed(x):
        return x
    return _summed(x.detach()).to_local()


def _summed(x: Any) -> Any:  # noqa: ANN401 - a DTensor, whose type is slow to load
    if not any(placement.is_partial() for placement in x.placements):
        return x
    from torch.distributed.tensor import Replicate

    placements = [Replicate() if one.is_partial() else one for one in x.placements]
    return x.redistribute(placements=placements)


def whole(x: Any) -> Any:  # noqa: ANN401 - as above
    """Return all of a tensor, gathered where it is distributed; the gradient goes back."""
    return x.full_tensor() if is_distributed(x) else x
