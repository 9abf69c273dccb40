"""Baselines: what a model's signal once was, in a committed file, and whether it still is.

What is compared are means over seeds, never bits: another machine, device or version of torch
draws other numbers from the same law. A value has moved when it differs by more than the
tolerance *and* by more than the sampling error of the two means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from initscope.errors import UsageError
from initscope.growth import standard_error
from initscope.notation import number
from initscope.sites import all_parameters
from initscope.store.schema import configuration, head
from initscope.verdict import Finding, Status

if TYPE_CHECKING:
    from initscope.profile import Profile
