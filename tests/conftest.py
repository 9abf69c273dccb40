"""What all tests share: those marked ``cuda`` are skipped, saying why, where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_cuda = [item for item in items if item.get_closest_marker("cuda")]
    if not on_cuda:
        return
    import torch

    if not torch.cuda.is_available():
        reason = f"needs CUDA, and torch {torch.__version__} sees no device"
        for item in on_cuda:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def on_cores() -> Iterator[Callable[[int], None]]:
    """Have PyTorch compute on a number of cores, until the test ends."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
