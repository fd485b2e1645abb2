"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Final

#: Padded tokens run on the processor between two calls: seconds of work, beside which a call (some tens of
#: milliseconds) does not count.
_TOKENS_BETWEEN: Final = 2**15


class Trimmer:
    """Counts tokens, and now and then returns what batches of ever other shapes left behind in the allocator.

    The allocator of glibc keeps freed blocks for blocks of their size. Batches of like length have as many sizes as
    there are lengths, so that without this a long run holds hundreds of megabytes that nobody uses.
    """

    def __init__(self) -> None:
        self._since = 0

    def ran(self, n_tokens: int) -> None:
        """`n_tokens` more were run."""
        self._since += n_tokens
        if self._since >= _TOKENS_BETWEEN:
            self._since = 0
            _malloc_trim()(0)


@cache
def _malloc_trim() -> Callable[[int], object]:
    """The call of glibc; where the C library has none, one that does nothing."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda _: None
