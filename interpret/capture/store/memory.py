"""Freed memory goes back to the system.

Batches differ in shape, so what one frees seldom fits the next, and the heap of the C library grows by holes: by
0.5 GB over 250,000 tokens of a small BERT, with or without a capture.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: Growth that is let be: handing memory back takes 20 ms, and getting it again as much.
_SLACK: Final = 200 << 20


class Trimmer:
    """Called between batches; hands freed memory back when the process has grown since the last time.

    Does nothing where the C library or the system does not offer it.
    """

    def __init__(self) -> None:
        self._low = resident_bytes()
        self._trim: Callable[[int], int] | None = None
        try:
            self._trim = ctypes.CDLL(None).malloc_trim
        except (AttributeError, OSError, TypeError):
            pass

    def __call__(self) -> bool:
        """Trim if it is time; returns whether it was."""
        found = resident_bytes()
        if self._trim is None or self._low is None or found is None or found - self._low < _SLACK:
            return False
        self._trim(0)
        self._low = resident_bytes()
        return True


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
