"""Models of which one block at a time has weights: the readings of the whole, in less memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from families import FAMILIES, family
from initscope.checkpoint import open_checkpoint
from initscope.errors import MeasurementError
from initscope.options import Options
from initscope.own import Subject
from initscope.own.paging import Paging
from initscope.resident.engine import Measured
from initscope.rules import get_rule
from initscope.target import Factory, load_factory
from resident_readings import Values, assert_same
from users_gpt import users_gpt

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


@pytest.mark.parametrize("fields", [{}, {"bias": True}, {"in_place": True}, {"fused_softmax": False}])
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
