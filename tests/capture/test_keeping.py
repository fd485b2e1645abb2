"""What a capture keeps is its own memory, whatever pages it stands in."""

from __future__ import annotations

import mmap
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from interpret.capture import keeping
from interpret.capture.keeping import kept

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3), (64, 128, 300), (3, 1_000_003)])
def test_a_copy_of_any_size_and_dtype(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    source = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 100).to(dtype)
    copy = kept(source)
    assert copy.dtype == dtype
    assert copy.is_contiguous()
    assert torch.equal(copy, source)
    assert copy.untyped_storage().data_ptr() != source.untyped_storage().data_ptr() or not source.numel()
    # Nothing of a neighbour's is saved or sent along.
    assert copy.untyped_storage().nbytes() == copy.numel() * copy.element_size()
    assert torch.equal(load(save({"a": copy, "b": kept(source)}))["a"], source)


def test_a_view_comes_out_contiguous_and_apart_from_the_graph() -> None:
    weights = torch.rand(1200, 1000, requires_grad=True)
    copy = kept((weights * 2).T)
    assert not copy.requires_grad
    assert copy.is_contiguous()
    assert torch.equal(copy, 2 * weights.detach().T)


class Refusing(mmap.mmap):
    def madvise(self, *_: Any) -> None:
        raise OSError(22, "Invalid argument")


@pytest.mark.parametrize("way", ["no such advice", "refused"])
def test_where_there_are_no_huge_pages(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "refused":
        monkeypatch.setattr(keeping, "_ADVICE", 0)
        monkeypatch.setattr(keeping.mmap, "mmap", Refusing)
    else:
        monkeypatch.setattr(keeping, "_ADVICE", None)
    source = torch.rand(1000, 1000)
    assert torch.equal(kept(source), source)


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system has no huge pages to ask for")
def test_large_memory_begins_at_a_huge_page() -> None:
    assert kept(torch.rand(1000, 1000)).data_ptr() % (2 << 20) == 0
