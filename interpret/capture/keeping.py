"""Memory for what a capture keeps: its own, in huge pages where the system has them.

A large tensor that is kept takes memory that the model would use again for its next layer, and memory that is new
costs more than the copy: the system hands it out and clears it in pages of 4 kB, one at a time. In pages of 2 MB a
copy is cheaper than keeping the model's own tensor, and nobody else can write to it.
"""

from __future__ import annotations

import mmap
from typing import Final

import torch
from torch import Tensor

#: The huge page of x86 and, as a rule, of ARM; where it is another size, only speed is lost.
_HUGE: Final = 2 << 20
_ADVICE: Final[int | None] = getattr(mmap, "MADV_HUGEPAGE", None)


def kept(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU, in memory of its own and apart from the graph."""
    source = tensor.detach()
    # What is smaller comes from memory that the C library uses again.
    large = source.numel() * source.element_size() >= _HUGE
    copy = _in_huge_pages(source) if large and _ADVICE is not None else None
    return (torch.empty(source.shape, dtype=source.dtype) if copy is None else copy).copy_(source)


def _in_huge_pages(like: Tensor) -> Tensor | None:
    """Memory for such a tensor; None where the system refuses."""
    assert _ADVICE is not None
    n_bytes = like.numel() * like.element_size()
    try:
        memory = mmap.mmap(-1, n_bytes + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = -torch.frombuffer(memory, dtype=torch.uint8, count=1).data_ptr() % _HUGE
        # Only pages that are filled: half a huge page would take the memory of a whole one.
        memory.madvise(_ADVICE, start, n_bytes // _HUGE * _HUGE)
    except OSError:
        return None
    return torch.frombuffer(memory, dtype=like.dtype, count=like.numel(), offset=start).view(like.shape)
