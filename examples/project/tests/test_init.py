"""tinygpt's signal stays bounded however deep the model, and a rule that breaks it is caught."""

from __future__ import annotations

import pytest
from tinygpt.initialisation import LOST, SOUND

from initscope.pytest_plugin import InitscopeFixture

# As [tool.initscope.check] of pyproject.toml, for all tests of this file.
pytestmark = pytest.mark.initscope(
    depths=(4, 8), n_embd=64, vocab_size=512, seq_len=64, bounds={"depth_exponent": 0.4}
)


def test_the_signal_is_bounded_in_depth(initscope: InitscopeFixture) -> None:
    """What training uses."""
    initscope.check(SOUND)


@pytest.mark.xfail(
    strict=True,
    raises=pytest.fail.Exception,
    reason="compares 'c_proj.weight' with whole names: the residual weights never shrink",
)
def test_the_check_catches_the_lost_scaling(initscope: InitscopeFixture) -> None:
    """What the check is for; drop the mark to read its report."""
    initscope.check(LOST, depths=8)
