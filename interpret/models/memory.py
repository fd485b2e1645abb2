"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

#: Least seconds between two calls, and how many times its own duration a call is followed by none.
_PAUSE_S: Final = 0.1
_REST: Final = 20
_not_before = 0.0


def ran() -> None:
    """Say that a batch was run: now and then, what batches of ever other shapes left behind is given back.

    The allocator of glibc keeps freed blocks for blocks of their size. Batches of like length have as many sizes as
    there are lengths, so that without this a long run holds hundreds of megabytes that nobody uses. A call takes
    milliseconds, and at most 5% of the time.
    """
    global _not_before
    start = time.monotonic()
    if start < _not_before:
        return
    trim = malloc_trim()
    if trim is not None:
        trim(0)
    end = time.monotonic()
    _not_before = end + max(_PAUSE_S, _REST * (end - start))


@cache
def malloc_trim() -> Callable[[int], int] | None:
    """What hands freed memory back, in the C library of GNU; None elsewhere."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
