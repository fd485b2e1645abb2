"""Linear layers through oneDNN where torch would use MKL on a processor that MKL does not serve well.

On processors of AMD, MKL multiplies 32-bit matrices with instructions half as wide as the processor has: 100 GFLOP/s
against 220 with oneDNN, on one core of an EPYC with AVX-512. Both are in torch; only oneDNN's is behind a private
operator, the one that torch's own compiler writes into its code. Results differ in rounding only.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Final
from weakref import ref

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from interpret.models.handle import Handle
from interpret.models.parts import is_compiled

#: Below this many weights, or this many rows, the call costs more than it saves.
_MIN_WEIGHTS: Final = 128 * 128
_MIN_ROWS: Final = 16
#: How far both kernels may be apart, as a share of the largest output.
_TOLERANCE: Final = 1e-4
#: Bytes of weights that a block may hold a second time, in the order in which oneDNN reads them.
_LAID_OUT: Final = 2**27
#: Rows that oneDNN is given at once, for each thread; of what is left over, a multiple of so many at the least.
_ROWS_OF_A_THREAD: Final = 256
_LEAST_STEP: Final = 32
#: Whether calls are redirected already, in this thread.
_active: ContextVar[bool] = ContextVar("interpret_fast_linear", default=False)


@contextmanager
def fast_linear(handle: Handle) -> Iterator[None]:
    """Inside, 32-bit linear layers of a model on such a processor run through oneDNN, gradients of inputs included.

    For rows that nobody but us asked for: altered texts, points on a path. What a user's own forward computes, and
    predictions, are left to the kernels that torch picks. The model is not touched: the calls of `linear` are
    redirected, and everything that is not a plain 32-bit matrix on the processor goes the usual way. Each shape is
    compared with the usual way when it is first met, and left to it if they disagree. Inside another of these blocks
    this one does nothing: what it compared with would be redirected by the other.
    """
    if _active.get():
        yield
        return
    kernel = _kernel() if handle.device.type == "cpu" and not is_compiled(handle.model) else None
    if kernel is None:
        yield
        return
    token = _active.set(True)
    try:
        with _Redirected(kernel):
            yield
    finally:
        _active.reset(token)


class _Redirected(TorchFunctionMode):
    """Calls of `torch.nn.functional.linear` go to `kernel`."""

    def __init__(self, kernel: Callable[[Tensor, Tensor, Tensor | None], Tensor]) -> None:
        super().__init__()
        self.kernel = kernel
        self.agreed: dict[torch.Size, bool] = {}
        # By id and version of the weight, which is held, so that no other comes to have its id.
        self.laid_out: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        # Not held: a weight that a module computes anew at each call would pile up, a copy for each batch.
        self.met: dict[tuple[int, int], ref[Tensor]] = {}
        self.room = _LAID_OUT

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.linear or kwargs or not 2 <= len(args) <= 3 or not _fits(*args):
            return func(*args, **(kwargs or {}))
        inputs, weight, bias = (*args, None)[:3]
        if weight.shape not in self.agreed:
            usual: Tensor = func(*args)
            ours = self.kernel(inputs, weight, bias).detach()
            apart = (usual.detach() - ours).abs().max()
            self.agreed[weight.shape] = bool(apart <= _TOLERANCE * usual.detach().abs().max().clamp(min=1e-6))
            return usual
        if not self.agreed[weight.shape]:
            return func(*args)
        if torch.is_grad_enabled() and inputs.requires_grad:
            return self.kernel(inputs, weight, bias)
        return self.kernel(inputs, self._in_order(weight), bias)

    def _in_order(self, weight: Tensor) -> Tensor:
        """The weight as oneDNN would lay it out at every call, from its second call on; itself where there is no room.

        Most of these blocks run many batches, and one that runs few must not pay for it.
        """
        if weight.is_inference():
            # Whether it was changed since cannot be told.
            return weight
        key = (id(weight), weight._version)
        if key in self.laid_out:
            return self.laid_out[key][1]
        if weight.nbytes > self.room:
            return weight
        if key not in self.met or self.met[key]() is not weight:
            self.met[key] = ref(weight)
            return weight
        self.room -= weight.nbytes
        self.laid_out[key] = (weight, torch.ops.mkldnn._reorder_linear_weight(weight.detach()))
        return self.laid_out[key][1]


class _Linear(torch.autograd.Function):
    """`inputs @ weight.T + bias`, differentiable in the inputs only, once."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _one_dnn(inputs, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _one_dnn(gradient, weight.t(), None), None, None


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if torch.is_grad_enabled() and inputs.requires_grad:
        found: Tensor = _Linear.apply(inputs, weight, bias)  # type: ignore[no-untyped-call]
        return found
    return _one_dnn(inputs, weight, bias)


def _one_dnn(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer, block of rows by block of rows, the last one padded: the same numbers, in few shapes.

    oneDNN writes code for every shape and keeps that of the last 1,024: 0.6 MB each, which over texts of ever other
    lengths comes to hundreds of megabytes. Blocks cost 5 to 15% of the layer, and save most of writing the code.
    """
    rows = inputs.reshape(-1, inputs.shape[-1])
    n, block = len(rows), _ROWS_OF_A_THREAD * torch.get_num_threads()
    if n <= block:
        out = _padded(rows, weight, bias)
    else:
        out = rows.new_empty(n, len(weight))
        for start in range(0, n, block):
            out[start : start + block] = _padded(rows[start : start + block], weight, bias)
    return out.view(*inputs.shape[:-1], -1)


def _padded(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    n = len(rows)
    # Sixteenths of the next power of two: beyond the least step at most an eighth of the work is for nothing.
    step = max(_LEAST_STEP, (1 << (n - 1).bit_length()) // 16)
    missing = -n % step
    if not missing:
        return _one_block(rows, weight, bias)
    return _one_block(torch.nn.functional.pad(rows, (0, 0, 0, missing)), weight, bias)[:n]


def _one_block(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found


def _fits(inputs: Any, weight: Any, bias: Any = None) -> bool:
    """Whether these are what the kernel is made for: its own checks end in an error, not in the usual way."""
    parts = [inputs, weight] if bias is None else [inputs, weight, bias]
    if not all(type(part) in (Tensor, torch.nn.Parameter) for part in parts):
        return False
    if not all(part.dtype == torch.float32 and part.device.type == "cpu" for part in parts):
        return False
    if not all(part.layout == torch.strided and part.is_contiguous() for part in parts):
        return False
    if torch.is_grad_enabled() and any(part.requires_grad for part in parts[1:]):
        return False
    if weight.ndim != 2 or inputs.ndim < 2 or torch.is_autocast_enabled("cpu"):
        return False
    enough = weight.numel() >= _MIN_WEIGHTS
    return bool(enough and inputs.numel() >= _MIN_ROWS * inputs.shape[-1] > 0)


@cache
def _kernel() -> Callable[[Tensor, Tensor, Tensor | None], Tensor] | None:
    """The linear layer of oneDNN; None where it is not needed, not there, or does not run."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available() and _made_by_amd()):  # type: ignore[no-untyped-call]
        return None
    try:
        _one_dnn(torch.zeros(2, 4), torch.zeros(3, 4), torch.zeros(3))
    except (AttributeError, RuntimeError, TypeError):
        # A private operator: another version of torch may have it otherwise.
        return None
    return _linear


@cache
def _made_by_amd() -> bool:
    if sys.platform != "linux":
        return "AuthenticAMD" in platform.processor()
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
