"""The checkout as if pip had installed it: entry points that are found, a command on the path."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def entry_points(folder: Path) -> Path:
    """Write the package's metadata into a folder for the path; return the folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    sections = [
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in points.items()), ""])
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(sections))
    return folder


def command(folder: Path) -> Path:
    """Write the command ``initscope`` into a folder for PATH; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "initscope"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m initscope "$@"\n')
    script.chmod(0o755)
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return what a process needs to find both, without what changes how pytest or a check runs."""
    ours = ("PYTEST", "GITHUB", "INITSCOPE")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    python = os.pathsep.join([str(entry_points(folder / "site")), str(ROOT)])
    path = os.pathsep.join([str(command(folder / "bin")), os.environ["PATH"]])
    return {**inherited, "PYTHONPATH": python, "PATH": path, "OMP_NUM_THREADS": "1", **more}
