"""initscope audit on the meta path: what to_empty leaves unwritten, otherwise drawn, or untied."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from initscope.provenance.faults import faults, notes
from initscope.provenance.meta import same
from initscope.sampling import sample
from planted import PlainGPT, Size, audited, fill, scaled, sound


class SelfMade(PlainGPT):
    """A model that initialises itself, when it is built and again when it is told to."""

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        self.scales: Tensor
        self.register_buffer("scales", self.table())
        self.init_weights()

    def table(self) -> Tensor:
        return torch.arange(64) / 64

    def init_weights(self) -> None:
        sound(self)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        with torch.no_grad():
            self.scales.copy_(self.table())


class ForgetsBuffer(SelfMade):
    def init_weights(self) -> None:
        sound(self)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()


class ForgetsNorms(SelfMade):
    def init_weights(self) -> None:
        sound(self)
        with torch.no_grad():
            self.scales.copy_(self.table())


class DrawsOtherwise(SelfMade):
    """Scales what writes to the stream when it is built, and not by init_weights."""

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        with torch.no_grad():
            for layer in self.blocks:
                layer.wo.weight /= 4

    def init_weights(self) -> None:
        super().init_weights()
        fill(self, lambda *_: 0.02)


class Tied(SelfMade):
    def __init__(self, size: Size) -> None:
        super().__init__(size)
        self.head.weight = self.embed.weight
        self.init_weights()


class Twice(SelfMade):
    def init_weights(self) -> None:
        super().init_weights()
        if self.embed.weight.device.type != "meta":
            super().init_weights()


def nothing(_model: PlainGPT) -> None:
    """Leave the model as it made itself."""


def said(kind: type[PlainGPT]) -> list[tuple[str, str]]:
    return [(fault.code, fault.text) for fault in faults(audited(nothing, kind))]


def test_a_model_that_initialises_all_of_itself_is_the_same_on_both_paths() -> None:
    found = audited(nothing, SelfMade)
    assert [fault.code for fault in faults(found) if fault.code.startswith("meta")] == []
    assert found.meta is not None
    assert found.meta.how == "SelfMade.init_weights()"
    assert len(found.meta.held) == len(found.held)


def test_a_buffer_that_is_not_computed_again_is_named() -> None:
    (fault,) = said(ForgetsBuffer)
    assert fault[0] == "meta-unwritten"
    assert "buffer scales (ForgetsBuffer.init_weights() does not reach it)" in fault[1]


def test_parameters_that_are_not_written_again_are_named() -> None:
    codes = said(ForgetsNorms)
    assert [code for code, _ in codes] == ["meta-unwritten"]
    assert "layers.0.norm_1.weight" in codes[0][1]


def test_another_distribution_is_named() -> None:
    found = [text for code, text in said(DrawsOtherwise) if code == "meta-differs"]
    assert len(found) == 1
    assert found[0].startswith("attn_out is of mean ")
    assert "layers.0.wo.weight" in found[0]


def test_weights_that_come_apart_are_named() -> None:
    texts = [text for code, text in said(Tied) if code == "meta-untied"]
    (text,) = texts
    assert text.startswith("embed.weight and head.weight are one tensor when built at once, and 2 ")


def test_an_initialisation_that_runs_twice_is_named_on_each_path() -> None:
    texts = [text for code, text in said(Twice) if code == "written-again"]
    assert any(text.startswith("the initialisation ran 2 times: ") for text in texts)
    assert any(text.startswith("on the meta path the initialisation ran 2 t") for text in texts)


def test_a_model_without_a_method_for_it_is_left_alone_unless_asked() -> None:
    init = scaled("wo", "w2")
    assert audited(init).meta is None
    assert any(note.label == "meta" and "not tried" in note.text for note in notes(audited(init)))
    found = audited(init, meta=True)
    assert found.meta is not None
    assert found.meta.how == "reset_parameters() of each module"
    codes = {fault.code for fault in faults(found)}
    assert codes == {"meta-differs"}  # the factory's draw is not that of the modules
    assert audited(nothing, SelfMade, meta=False).meta is None


def test_what_cannot_be_built_there_is_a_note() -> None:
    def init(model: PlainGPT) -> None:
        sound(model)
        float(model.head.weight.detach().std())  # no number on the meta device

    found = audited(init, meta=True)
    assert found.meta is not None
    assert found.meta.error
    assert faults(found) == []
    assert any("cannot be built there" in note.text for note in notes(found))


# --- two samples of one distribution ---


@pytest.mark.parametrize("draw", [torch.randn, torch.rand], ids=["normal", "uniform"])
def test_two_draws_are_the_same_and_a_scaled_one_is_not(draw: Callable[..., Tensor]) -> None:
    made = torch.Generator().manual_seed(0)
    samples = [sample(draw(64, 64, generator=made)) for _ in range(40)]
    assert all(same(samples[0], other) for other in samples)
    wider = [sample(1.2 * draw(64, 64, generator=made)) for _ in range(40)]
    assert not any(same(samples[0], other) for other in wider)


def test_constants_are_compared_by_value() -> None:
    one, two = sample(torch.ones(4)), sample(torch.full((4,), 2.0))
    assert same(one, one)
    assert not same(one, two)
    assert not same(one, sample(torch.randn(4)))
    assert not same(sample(torch.full((4,), torch.nan)), one)
