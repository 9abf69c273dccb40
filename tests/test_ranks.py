"""Whom a model is spread over, where that is nobody or cannot be said; who counts how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, nn

import initscope
from initscope.readout import Key, Moments
from initscope.resident.ranks import Ranks
from initscope.resident.spread import class_name, ranks_of, share_of_ids
from side_by_side import NEEDS_GLOO
from small import ids
from users_gpt import users_gpt


class Group:
    """A group of which every other member holds what this one holds."""

    def __init__(self, size: int, rank: int = 0) -> None:
        self.members, self.place = size, rank

    def size(self) -> int:
        return self.members

    def rank(self) -> int:
        return self.place

    def allreduce(self, tensors: list[torch.Tensor], options: Any) -> Group:
        if options.reduceOp == distributed.ReduceOp.SUM:
            tensors[0].mul_(self.members)
        return self

    def wait(self, _timeout: object) -> None:
        pass


PARTS = {
    Key(0, "q", "backward", "gradient"): Moments(4, 0.5, 2.0, np.nan, np.nan, 3.0),
    Key(0, "q", "forward", "activation"): Moments(4, 0.5, 2.0, 1.0, 9.0, 3.0),
}


def test_a_model_of_this_process_alone_exchanges_nothing() -> None:
    ranks = ranks_of(users_gpt())
    assert not ranks
    assert (ranks.shares, ranks.share, ranks.weight(7)) == (1, 0, 1.0)
    assert ranks.pool(PARTS) is PARTS


@NEEDS_GLOO
def test_a_gradient_is_of_the_mean_over_all_shares() -> None:
    gradient, activation = Ranks(data=(Group(2), Group(2))).pool(PARTS).values()
    np.testing.assert_equal(gradient, Moments(16, 0.125, 0.125, np.nan, np.nan, 0.75))
    np.testing.assert_equal(activation, Moments(16, 0.5, 2.0, 1.0, 9.0, 3.0))


@NEEDS_GLOO
def test_tensor_parallel_processes_have_one_share_between_them() -> None:
    gradient, _ = Ranks(model=(Group(2),)).pool(PARTS).values()
    np.testing.assert_equal(gradient, Moments(8, 0.5, 2.0, np.nan, np.nan, 3.0))
    assert Ranks(model=(Group(2, 1),)).share == 0


@NEEDS_GLOO
def test_a_loss_weighs_as_many_tokens_as_it_is_the_mean_of() -> None:
    ranks = Ranks(data=(Group(2),))
    assert ranks.weight(24) == 1.0
    assert ranks.weight(0) == 1.0


@pytest.mark.parametrize(("first", "second", "share"), [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)])
def test_made_ids_differ_by_share(first: int, second: int, share: int) -> None:
    model, options = users_gpt(), initscope.Options(batch=2, seq_len=16)
    ranks = Ranks(data=(Group(2, first), Group(2, second)))
    whole = share_of_ids(model, initscope.Options(batch=8, seq_len=16), Ranks())
    assert torch.equal(share_of_ids(model, options, ranks), whole[2 * share : 2 * share + 2])


def test_the_first_version_of_fsdp_is_refused() -> None:
    fsdp = pytest.importorskip("torch.distributed.fsdp", reason="needs torch.distributed")
    wrapped = fsdp.FullyShardedDataParallel.__new__(fsdp.FullyShardedDataParallel)
    nn.Module.__init__(wrapped)
    with pytest.raises(initscope.UsageError, match="fully_shard"):
        initscope.inspect(wrapped, ids())


def test_a_class_keeps_its_own_name() -> None:
    assert class_name(users_gpt()) == "UsersGPT"
