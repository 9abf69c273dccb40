"""Models of which one block at a time has weights: the readings of the whole, in less memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from families import FAMILIES, family
from initscope.checkpoint import open_checkpoint
from initscope.construction import Allocation
from initscope.errors import MeasurementError
from initscope.options import Options
from initscope.own import Subject
from initscope.own.paging import Paging
from initscope.own.staging import require_own
from initscope.resident.engine import Measured
from initscope.rules import get_rule
from initscope.target import Factory, load_factory
from resident_readings import Values, assert_same
from users_gpt import Settings, UsersGPT, users_gpt

USERS = f"{Path(__file__).parent / 'users_gpt.py'}:UsersGPT"
OPTIONS = Options(seq_len=16, batch=2)


def values(found: Measured) -> Values:
    return {reading[:4]: reading.value for reading in found.readings}


def both(subject: Subject, depth: int | None = None, options: Options = OPTIONS) -> list[Values]:
    """Measure a subject whole and block by block."""
    return [values(subject.measure(depth, options, 0, paged=paged)[0]) for paged in (False, True)]


def users(**fields: Any) -> Factory:
    return load_factory(USERS, [f"{name}={value}" for name, value in fields.items()])


# --- the same readings ---


@pytest.mark.parametrize(
    "fields", [{}, {"bias": True}, {"in_place": True}, {"fused_softmax": False}]
)
@pytest.mark.parametrize("options", [OPTIONS, dataclasses.replace(OPTIONS, forward_only=True)])
def test_a_checkpoint_reads_the_same_by_block(fields: dict[str, Any], options: Options) -> None:
    checkpoint = open_checkpoint(users_gpt(n_layer=3, **fields).state_dict())
    factory = users(n_layer=3, **fields)
    whole, paged = both(Subject(factory=factory, checkpoint=checkpoint), options=options)
    assert set(whole) == set(paged)
    assert_same(paged, whole)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "gemma2", "mixtral", "mamba"])
def test_a_model_of_the_hub_reads_the_same_by_block(name: str) -> None:
    model = family(name)
    state = {key: x + 0.01 for key, x in model.state_dict().items()}
    factory = Factory(name, lambda: family(name), {})
    whole, paged = both(Subject(factory=factory, checkpoint=open_checkpoint(state)))
    assert set(whole) == set(paged)
    assert_same(paged, whole)


@pytest.mark.parametrize("fields", [{}, {"bias": True}])
def test_a_rule_draws_the_same_by_block(fields: dict[str, Any]) -> None:
    subject = Subject(factory=users(**fields), rule=get_rule("xavier"))
    whole, paged = both(subject, 4)
    assert set(whole) == set(paged)
    assert_same(paged, whole)


# --- its own initialisation ---


def of_family(name: str) -> Factory:
    depth = "n_layer" if "n_layer" in FAMILIES[name] else "num_hidden_layers"
    return Factory(name, lambda **given: family(name, **given), {depth: 4}, {}, depth)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_initialises_block_by_block(name: str) -> None:
    require_own(of_family(name), "", Allocation())


@pytest.mark.parametrize("name", ["gpt2"])
def test_its_own_initialisation_is_of_the_same_distribution_by_block(name: str) -> None:
    """Each weight's std, to six standard errors of a normal's; GPT-2's goes with the depth."""
    whole, paged = both(Subject(factory=of_family(name)), 4)
    assert set(whole) == set(paged)
    model = family(name, **{of_family(name).depth_arg: 4})
    fewest = min(p.numel() for p in model.parameters() if p.dim() > 1)
    compared = 0
    for key, value in whole.items():
        if key[2:] == ("weight", "variance") and value > 0:
            assert paged[key] == pytest.approx(value, rel=6 * 2 * (2 / fewest) ** 0.5), key
            compared += 1
    assert compared > 4 * 4


def test_the_same_block_is_drawn_each_time_that_it_comes() -> None:
    subject = Subject(factory=of_family("gpt2"))
    one, again, other = (
        values(subject.measure(4, OPTIONS, seed, paged=True)[0]) for seed in (0, 0, 1)
    )
    assert one == again
    assert one != other


class Nano(UsersGPT):
    """Named as nanoGPT's is: applied to each module, before a loop scales the projections."""

    def _init_weights(self, module: nn.Module) -> None:
        self._draw(module)


def nano(n_layer: int, *, scaled: bool) -> Nano:
    return Nano(Settings(n_layer=n_layer, scaled=scaled))


@pytest.mark.parametrize("scaled", [True, False])
def test_an_initialisation_that_needs_the_whole_is_refused(scaled: bool) -> None:
    factory = Factory("nano", nano, {"n_layer": 4}, {"scaled": scaled}, "n_layer")
    if not scaled:
        Subject(factory=factory).measure(4, OPTIONS, 0, paged=True)
        return
    said = r"nano does not initialise block by block: transformer\.h\.0\.attn\.c_proj\.weight comes"
    with pytest.raises(MeasurementError, match=said) as caught:
        Subject(factory=factory).measure(4, OPTIONS, 0, paged=True)
    assert "--init RULE and --checkpoint FILE" in str(caught.value)


def test_a_model_without_a_depth_cannot_be_held_against_its_whole() -> None:
    subject = Subject(factory=Factory("f", lambda: users_gpt(n_layer=2), {}))
    with pytest.raises(MeasurementError, match="f has no argument for its depth"):
        subject.measure(None, OPTIONS, 0, paged=True)


# --- memory ---


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the bytes that a model's parameters hold whenever a block has got its own."""
    seen: list[int] = []
    bring = Paging._bring

    def counting(self: Paging, number: int) -> None:
        bring(self, number)
        seen.append(sum(p.untyped_storage().nbytes() for page in self.pages for p in page.values()))

    monkeypatch.setattr(Paging, "_bring", counting)
    return seen


@pytest.mark.parametrize("kind", ["checkpoint", "rule"])
def test_one_block_has_weights_whatever_the_depth(kind: str, peak: list[int]) -> None:
    most = []
    for depth in (4, 16):
        peak.clear()
        checkpoint = open_checkpoint(users_gpt(n_layer=depth)) if kind == "checkpoint" else None
        rule = get_rule("xavier") if kind == "rule" else None
        subject = Subject(factory=users(n_layer=depth), checkpoint=checkpoint, rule=rule)
        subject.measure(None if checkpoint else depth, OPTIONS, 0, paged=True)
        most.append(max(peak))
    block = users_gpt(n_layer=1).transformer["h"]
    kept = [p for p in block.parameters() if kind == "checkpoint" or p.dim() > 1]
    assert most == [4 * sum(p.numel() for p in kept)] * 2
