"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

#: Padded tokens run on the processor between two calls: seconds of work, beside which a call (some tens of
#: milliseconds) does not count.
_TOKENS_BETWEEN: Final = 2**15
_since = 0


def ran(n_tokens: int) -> None:
    """Say that `n_tokens` more were run; now and then what batches of ever other shapes left behind is given back.

    The allocator of glibc keeps freed blocks for blocks of their size. Batches of like length have as many sizes as
    there are lengths, so that without this a long run holds hundreds of megabytes that nobody uses. The count goes over
    all runs of the process: many short ones leave as much as a long one.
    """
    global _since
    _since += n_tokens
    if _since >= _TOKENS_BETWEEN:
        _since = 0
        trim = malloc_trim()
        if trim is not None:
            trim(0)


@cache
def malloc_trim() -> Callable[[int], int] | None:
    """What hands freed memory back, in the C library of GNU; None elsewhere."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found


@contextmanager
def trimming(slack: int = 100 << 20, every_s: float = 0.2) -> Iterator[None]:
    """Hand freed memory back while the block runs: from a thread, where the loop over batches is somebody else's.

    Explaining 64 short texts with a MiniLM took 280 to 400 MB without and at most 260 MB with it, for 5% of the
    processor's time.

    Args:
        slack: growth beyond what the process held at first that is let be.
        every_s: seconds between two looks.
    """
    trim, low = malloc_trim(), resident_bytes()
    if trim is None or low is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every_s):
            if (resident_bytes() or 0) - low > slack:
                trim(0)

    thread = threading.Thread(target=watch, name="interpret-trim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
