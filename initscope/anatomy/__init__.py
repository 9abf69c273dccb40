"""The anatomy of any GPT: which module's input or output each site is.

Found from one watched forward pass (:mod:`initscope.anatomy.trace`), not from names: what
writes to the residual stream is what reaches a block's output past no other projection, what
mixes tokens is attention, and the gate is what enters the activation alone.
"""

from __future__ import annotations

from initscope.anatomy.body import Anatomy, Labelled, find
from initscope.anatomy.marks import View
from initscope.anatomy.parts import Part, Tap
from initscope.anatomy.stack import find_blocks, unwrap

__all__ = ["Anatomy", "Labelled", "Part", "Tap", "View", "find", "find_blocks", "unwrap"]
