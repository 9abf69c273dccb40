"""Reading checkpoints: every layout of file, one tensor at a time, and none of a file's code."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from checkpoints import model
from initscope.checkpoint import open_checkpoint
from initscope.errors import MeasurementError, UsageError

safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs safetensors")


def state() -> dict[str, Tensor]:
    return {name: x.clone() for name, x in model(n_layer=2, n_embd=32).state_dict().items()}


def shards(folder: Path) -> Path:
    """Save a checkpoint in two files and an index, as Hugging Face does."""
    names = list(STATE)
    weights: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-{number}.safetensors"
        safetensors_torch.save_file({name: STATE[name] for name in part}, folder / file)
        weights |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    return folder


def pickled_shards(folder: Path) -> Path:
    names = list(STATE)
    torch.save({name: STATE[name] for name in names[::2]}, folder / "a.bin")
    torch.save({name: STATE[name] for name in names[1::2]}, folder / "b.bin")
    weights = {name: "ab"[i % 2] + ".bin" for i, name in enumerate(names)}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weights}))
    return folder


def torch_file(wrap: Callable[[Any], Any], **options: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        torch.save(wrap(STATE), folder / "ckpt.pt", **options)
        return folder / "ckpt.pt"

    return save


def one_file(folder: Path) -> Path:
    safetensors_torch.save_file(STATE, folder / "some.safetensors")
    return folder / "some.safetensors"


STATE = state()
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "safetensors": one_file,
    "folder with one file": lambda folder: one_file(folder).parent,
    "shards": shards,
    "index": lambda folder: shards(folder) / "model.safetensors.index.json",
    "shards by PyTorch": pickled_shards,
    "state dict": torch_file(lambda x: x),
    "under model": torch_file(lambda x: {"model": x, "iter_num": 3, "config": {"lr": 1e-3}}),
    "under state_dict, then module": torch_file(lambda x: {"state_dict": {"module": x}}),
    "before 2020": torch_file(lambda x: x, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(layout: str, tmp_path: Path) -> None:
    found = open_checkpoint(LAYOUTS[layout](tmp_path))
    assert found.shapes == {name: tuple(x.shape) for name, x in STATE.items()}
    assert all(torch.equal(found.read(name), x) for name, x in STATE.items())


def test_a_module_and_a_state_dict() -> None:
    drawn = model(n_layer=2, n_embd=32)
    names = dict(drawn.named_parameters())
    assert open_checkpoint(drawn).shapes.keys() == names.keys()
    assert open_checkpoint({"model": STATE}).shapes.keys() == STATE.keys()


def test_heads_saved_beside_the_weights(tmp_path: Path) -> None:
    assert open_checkpoint(model(n_layer=1, n_embd=64)).n_head == 4
    assert open_checkpoint({"model": STATE, "model_args": {"n_head": 8}}).n_head == 8
    folder = shards(tmp_path)
    assert open_checkpoint(folder).n_head == 0
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 16}))
    assert open_checkpoint(folder).n_head == 16
    (folder / "config.json").write_text("{broken")
    assert open_checkpoint(folder).n_head == 0


def test_what_is_no_weight_is_passed_over() -> None:
    found = open_checkpoint({**STATE, "mask": torch.ones(4, 4, dtype=torch.bool), "step": 7})
    assert found.shapes.keys() == STATE.keys()


# --- refused ---


class Malicious:
    """Would leave a file behind, if it were ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def write(name: str, content: bytes) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return save


def cut(layout: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        path = layout(folder)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return save


def index(content: object) -> Callable[[Path], Path]:
    return write("model.safetensors.index.json", json.dumps(content).encode())


DAMAGED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty .pt": (write("a.pt", b""), "cannot read"),
    "empty .safetensors": (write("a.safetensors", b""), "cannot read"),
    "text": (write("a.bin", b"hello, world"), "cannot read"),
    "half a .pt": (cut(LAYOUTS["state dict"]), "cannot read"),
    "half a .safetensors": (cut(one_file), "cannot read"),
    "a huge header": (write("a.safetensors", b"\xff" * 64), "cannot read"),
    "no tensors": (torch_file(lambda _: {"model": {"a": 1}}), "holds no tensors"),
    "a list": (torch_file(lambda x: list(x.values())), "holds no tensors"),
    "pickled code": (write("a.pt", pickle.dumps(Malicious())), "never run"),
    "code in a checkpoint": (torch_file(lambda x: {**x, "args": Malicious()}), "never run"),
    "index without map": (index({"metadata": {}}), "no weight_map"),
    "index that is no JSON": (write("model.safetensors.index.json", b"{"), "no weight_map"),
    "index out of the folder": (index({"weight_map": {"a": "../b.safetensors"}}), "beside it"),
    "index to nowhere": (index({"weight_map": {"a": "b.safetensors"}}), "which is not there"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_cannot_be_read_is_one_sentence(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, message = DAMAGED[damage]
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path)
    with pytest.raises(MeasurementError, match=message) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_names_itself_inside_itself_ends() -> None:
    nested: dict[str, Any] = {}
    nested["model"] = nested
    with pytest.raises(MeasurementError, match="holds no tensors"):
        open_checkpoint(nested)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.pt", "no such file"), ("notes.txt", "is of no kind known here"),
        ("empty", "holds no checkpoint"), ("two", "holds 2 checkpoints; name one"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_a_usage_error(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for file in ("a.pt", "b.pt"):
        (tmp_path / "two" / file).write_bytes(b"")
    with pytest.raises(UsageError, match=message):
        open_checkpoint(tmp_path / name)


def test_safetensors_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = one_file(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(UsageError, match=r"pip install 'initscope\[safetensors\]'"):
        open_checkpoint(path)
