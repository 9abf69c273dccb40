"""Checkpoints in a user's model: which tensor goes where, and what does not fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from families import family
from initscope.checkpoint import open_checkpoint
from initscope.errors import MeasurementError, UsageError
from initscope.options import Options
from initscope.own import Subject
from initscope.own.staging import hollow
from initscope.target import Factory, load_factory
from small import ids
from users_gpt import UsersGPT, users_gpt

USERS = f"{Path(__file__).parent / 'users_gpt.py'}:UsersGPT"
State = dict[str, Tensor]


def state(**fields: Any) -> State:
    """Return a trained state: no number in it is what a new model would draw."""
    return {name: x + 1 if x.dtype == torch.float32 else x
            for name, x in users_gpt(**fields).state_dict().items()}  # fmt: skip


def renamed(change: Callable[[str], str]) -> Callable[[State], object]:
    return lambda found: {change(name): x for name, x in found.items()}


def without(*names: str) -> Callable[[State], object]:
    return lambda found: {name: x for name, x in found.items() if name not in names}


SAVED: dict[str, Callable[[State], object]] = {
    "as it is": lambda found: found,
    "nanoGPT's, compiled": lambda found: {
        "model": {f"_orig_mod.{name}": x for name, x in found.items()},
        "optimizer": {"state": {0: torch.ones(3)}}, "iter_num": 1000,
    },
    "data parallel": renamed(lambda name: f"module.{name}"),
    "Lightning's": lambda found: {"state_dict": {f"model.{name}": x for name, x in found.items()}},
    "compiled blocks": renamed(lambda name: name.replace(".h.0.", ".h.0._orig_mod.")),
    "one of the tied": without("lm_head.weight"),
    "the other of the tied": without("transformer.wte.weight"),
    "without masks": lambda found: {k: x for k, x in found.items() if "causal" not in k},
}  # fmt: skip


def restored(saved: object, **fields: Any) -> UsersGPT:
    factory = load_factory(USERS).using({"n_layer": 3, **fields})
    checkpoint = open_checkpoint(saved)  # type: ignore[arg-type]
    subject = Subject(factory=factory, checkpoint=checkpoint)
    return subject.build(None, Options(), 0)  # type: ignore[return-value]


@pytest.mark.parametrize("layout", SAVED)
def test_weights_are_found_whatever_wraps_their_names(layout: str) -> None:
    want = users_gpt()
    want.load_state_dict(state())
    model = restored(SAVED[layout](state()))
    assert model.lm_head.weight is model.transformer["wte"].weight
    for name, tensor in want.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    tokens = ids()[:, :-1]
    assert torch.equal(model(tokens, tokens)[0], want.eval()(tokens, tokens)[0])


def test_weights_stay_where_the_file_has_them(tmp_path: Path) -> None:
    """Nothing is copied that needs no conversion: the memory is the file's."""
    torch.save(state(), tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    factory = load_factory(USERS).using({"n_layer": 3})
    subject = Subject(factory=factory, checkpoint=checkpoint)
    model = subject.build(None, Options(), 0)
    name = "transformer.wpe.weight"
    assert model.get_parameter(name).data_ptr() == checkpoint.read(name).data_ptr()
    half = subject.build(None, Options(dtype="bfloat16"), 0)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


FAULTS: dict[str, tuple[Callable[[State], object], list[str]]] = {
    "missing": (without("transformer.ln_f.weight"), ["it lacks transformer.ln_f.weight"]),
    "left over": (lambda s: {**s, "extra": torch.ones(2)}, ["the model has no extra"]),
    "another name": (
        renamed(lambda name: name.replace("ln_f", "norm_f")),
        ["it lacks transformer.ln_f.weight (is it transformer.norm_f.weight?)",
         "the model has no transformer.norm_f.weight (is it transformer.ln_f.weight?)"],
    ),
    "another width": (
        lambda s: {**s, "transformer.wpe.weight": torch.ones(32, 64)},
        ["transformer.wpe.weight is (32, 64) there and (32, 48) in the model"],
    ),
    "another depth": (
        lambda _: state(n_layer=5),
        ["the model has no transformer.h.3.", " more; it holds 5 blocks and the model 3",
         "--n-layer 5 builds as many"],
    ),
    "untied": (
        lambda s: {**s, "lm_head.weight": s["lm_head.weight"] + 1},
        ["that differ, but the model ties them"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_named(fault: str) -> None:
    change, said = FAULTS[fault]
    with pytest.raises(UsageError) as caught:
        restored(change(state()))
    assert [part for part in said if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.torch", reason="needs safetensors")
    whole = {**state(), "transformer.wte.weight": torch.ones(97, 48, dtype=torch.int8)}
    del whole["lm_head.weight"]
    library.save_file(whole, tmp_path / "a.safetensors")
    with pytest.raises(MeasurementError, match=r"wte\.weight of .* is torch\.int8: quantised"):
        restored(tmp_path / "a.safetensors")


class Looks(nn.Module):
    """Looks at its weights while it is built, which have to be there."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = users_gpt(n_layer=3)
        self.size = float(self.inner.lm_head.weight.std())

    def forward(self, idx: Tensor, targets: Tensor) -> Any:
        return self.inner(idx, targets)


def test_a_constructor_that_looks_at_its_weights_gets_them() -> None:
    factory = Factory("Looks", Looks, {})
    assert hollow(factory) is None
    saved: Any = renamed(lambda name: f"inner.{name}")(state())
    model = Subject(factory=factory, checkpoint=open_checkpoint(saved)).build(None, Options(), 0)
    assert torch.equal(model.get_parameter("inner.lm_head.weight"), state()["lm_head.weight"])


RENAMED = ["gpt_neox", "mixtral"]  # saved under other names than those of the modules
PLAIN = ["gpt2", "llama", "gemma2", "falcon", "bloom", "mamba"]


@pytest.mark.parametrize("name", RENAMED + PLAIN)
def test_a_saved_model_of_the_hub_gives_the_same_logits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "1"))
    want: Any = family(name)
    want.save_pretrained(tmp_path)
    factory = load_factory(f"hf:{tmp_path}")
    checkpoint = open_checkpoint(tmp_path)
    model = Subject(factory=factory, checkpoint=checkpoint).build(None, Options(), 0)
    tokens = ids()[:, :-1]
    with torch.no_grad():
        got = model(tokens).logits
        torch.testing.assert_close(got, want(tokens).logits, rtol=1e-6, atol=1e-6)
