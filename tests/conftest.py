"""What all tests share: the command line, and ``cuda``, skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command_line import Command, in_process


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run the command line in this process, in a folder of its own."""
    return in_process(tmp_path, monkeypatch, capsys)


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
