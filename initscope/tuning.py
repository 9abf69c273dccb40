"""What PyTorch's libraries are told before they load: by the command, never by the library.

Neither setting changes a number; together they are worth some 10 % of a measurement.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

# How long GNU OpenMP's threads wait, awake, for more work. Its own choice, some milliseconds,
# takes the cores from the threads that draw weights meanwhile.
SPIN = "20000"

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as <malloc.h> numbers them
KEPT_BYTES = 128 << 20  # freed memory that the C library keeps
LARGE_BYTES = 32 << 20  # allocations from here on are returned at once


def tune() -> None:
    """Tune the process; call before the first import of torch.

    What the user has set in the environment stays. Where the C library is another, nothing
    happens.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with suppress(OSError, AttributeError):  # musl and others have no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
