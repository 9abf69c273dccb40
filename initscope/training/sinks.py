"""Where profiles go while a run goes on: a file of lines, TensorBoard, Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from initscope.errors import MeasurementError, UsageError
from initscope.files import check_writable
from initscope.profile import Profile
from initscope.store import encode
from initscope.store.as_jsonl import MAGIC
from initscope.training.scalars import PREFIX, scalars


class Sink(Protocol):
    """Takes profiles one by one."""

    def write(self, profile: Profile) -> None:
        """Take a profile."""

    def close(self) -> None:
        """Let go of what was opened."""


class Lines:
    """A JSON document a line, each in the hands of the system once written.

    A line that a killed run left half written is cut off before the first one is added.

    Args:
        path: the file, which may hold an earlier part of the run.

    Raises:
        UsageError: for a place that cannot be written, or a file of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        check_writable(path)
        self._path = Path(path)
        if self._path.exists():
            self._mend()
        self._file: Any = None

    def _mend(self) -> None:
        with self._path.open("r+b") as file:
            head = file.read(len(MAGIC))
            if not MAGIC.startswith(head):
                raise UsageError(f"{self._path} is no watched run: name another file for jsonl")
            file.seek(0)
            whole = sum(len(line) for line in file if line.endswith(b"\n"))
            if whole < file.seek(0, os.SEEK_END):
                file.truncate(whole)

    def write(self, profile: Profile) -> None:
        """Add a line.

        Raises:
            MeasurementError: when it could not be written.
        """
        try:
            if self._file is None:
                self._file = self._path.open("ab", buffering=0)
            self._file.write(encode([profile], "json"))
        except OSError as error:
            raise MeasurementError(f"could not write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None


class TensorBoard:
    """Scalars by step.

    Args:
        writer: a ``SummaryWriter``, or the folder for one that is opened here.
        chosen: patterns of the scalars' names; the usual ones if empty.

    Raises:
        UsageError: where a folder is given and TensorBoard is not installed.
    """

    def __init__(self, writer: Any, chosen: Sequence[str] = ()) -> None:  # noqa: ANN401
        self._own = isinstance(writer, str | os.PathLike)
        self._writer = _summary_writer(writer) if self._own else writer
        self._chosen = chosen
        if not hasattr(self._writer, "add_scalar"):
            kind = type(writer).__name__
            raise UsageError(f"tensorboard is a SummaryWriter or a folder, not a {kind}")

    def write(self, profile: Profile) -> None:
        """Add the profile's scalars, on disk once this returns."""
        for name, value in scalars(profile, self._chosen).items():
            self._writer.add_scalar(name, value, profile.run.step)
        self._writer.flush()

    def close(self) -> None:
        """Close a writer that was opened here."""
        if self._own:
            self._writer.close()


def _summary_writer(folder: str | os.PathLike[str]) -> Any:  # noqa: ANN401 - untyped in torch
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "TensorBoard is not installed: pip install 'initscope[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder))


class WandB:
    """Scalars of a run of Weights & Biases, against a step of their own.

    Args:
        run: what ``wandb.init`` returned, offline or not: ``log`` is called, and
            ``define_metric`` where there is one.
        chosen: patterns of the scalars' names; the usual ones if empty.

    Raises:
        UsageError: for another object.
    """

    def __init__(self, run: Any, chosen: Sequence[str] = ()) -> None:  # noqa: ANN401 - theirs
        if not callable(getattr(run, "log", None)):
            raise UsageError(f"wandb is what wandb.init() returned, not a {type(run).__name__}")
        self._run, self._chosen = run, chosen
        # A profile comes after its step, when the run's own step may have gone on.
        if hasattr(run, "define_metric"):
            run.define_metric(f"{PREFIX}step")
            run.define_metric(f"{PREFIX}*", step_metric=f"{PREFIX}step")

    def write(self, profile: Profile) -> None:
        """Log the profile's scalars at once."""
        self._run.log({f"{PREFIX}step": profile.run.step, **scalars(profile, self._chosen)})

    def close(self) -> None:
        """Leave the run open: it is its owner's."""
