"""Measured models of the accuracy benchmark: kept in a file, so that a grid runs by parts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from initscope.files import write_atomically
from initscope.options import Options
from initscope.profile import Profile
from initscope.rules import config_for
from initscope.sweep import inspect
from initscope.theory import predict
from initscope.theory.band import band

Array = npt.NDArray[np.floating[Any]]

DIRECTIONS = ("forward", "backward")
DIGITS = 6  # of a variance, in the file


@dataclass(frozen=True)
class Request:
    """One model to measure: ``shape`` has the configuration's fields."""

    rule: str
    shape: dict[str, Any]
    seq_len: int
    batch: int
    seeds: int

    @property
    def key(self) -> str:
        """Name of the model, the same however many seeds."""
        values = (f"{value}" for value in self.shape.values())
        return " ".join([self.rule, *values, f"{self.batch}x{self.seq_len}"])

    def options(self, device: str = "cpu") -> Options:
        """Return how it is measured."""
        return Options(
            seeds=self.seeds, seq_len=self.seq_len, batch=self.batch, device=device,
            depth_law=False,
        )  # fmt: skip


class Store:
    """Stream variances by model, direction, layer and seed, in a JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.models: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def has(self, request: Request) -> bool:
        """Whether a model is there with as many seeds."""
        return bool(self.models.get(request.key, {}).get("seeds", 0) >= request.seeds)

    def measure(self, request: Request, device: str) -> None:
        """Measure a model and write the file."""
        config = config_for(request.rule, **request.shape)
        measured = inspect(config, request.rule, request.options(device))
        found = {
            direction: [
                [float(f"{value:.{DIGITS}g}") for value in row]
                for row in measured.select("resid_post", direction, "variance").to_numpy()
            ]
            for direction in DIRECTIONS
        }
        self.models[request.key] = {**asdict(request), **found}
        write_atomically(self.path, json.dumps(self.models) + "\n")

    def request(self, key: str) -> Request:
        """Return what a model of the file was."""
        fields = self.models[key]
        return Request(**{name: fields[name] for name in Request.__dataclass_fields__})


@dataclass(frozen=True)
class Cell:
    """One model and direction: errors by layer, their noise, and which seeds the band holds.

    ``spread`` is the deviation of single seeds, ``said`` what theory says that it is.
    """

    request: Request
    direction: str
    errors: Array
    noise: Array
    covered: npt.NDArray[np.bool_]
    spread: Array
    said: Array


def cells(store: Store, key: str) -> list[Cell]:
    """Set a measured model beside its prediction; none where theory says that it fails."""
    request = store.request(key)
    predicted = predict(config_for(request.rule, **request.shape), request.rule, request.options())
    if predicted.run.remark:
        return []
    return [_cell(store, predicted, request, direction) for direction in DIRECTIONS]


def _cell(store: Store, predicted: Profile, request: Request, direction: str) -> Cell:
    found = np.array(store.models[request.key][direction])
    said, deviation = (
        predicted.select("resid_post", direction, name).to_numpy()[:, 0]
        for name in ("variance", "spread")
    )
    low, high = band(predicted, direction)
    mean = found.mean(axis=1)
    spread = found.std(axis=1, ddof=1) / mean
    covered = (found >= low[:, None]) & (found <= high[:, None])
    noise = spread / np.sqrt(found.shape[1])
    return Cell(request, direction, said / mean - 1, noise, covered, spread, deviation)
