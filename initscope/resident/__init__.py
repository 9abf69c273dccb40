"""The resident engine: any model, whole in memory, measured by hooks on what was found in it.

Everything the streamed engine records is recorded where the model has the part. The model is
left as it was: outputs, gradients, random state, mode, buffers and hooks.
"""

from __future__ import annotations

from initscope.resident.engine import measure
from initscope.resident.feed import Feed, feed

__all__ = ["Feed", "feed", "measure"]
