"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
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
